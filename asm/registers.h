/*
 * Where registers stand in mcontext_t, which is the kernel's struct sigcontext: sys/ucontext.h. For assembly.
 */
#ifndef BIDE_ASM_REGISTERS_H
#define BIDE_ASM_REGISTERS_H

#define R8 0
#define R9 8
#define R10 16
#define R11 24
#define R12 32
#define R13 40
#define R14 48
#define R15 56
#define RDI 64
#define RSI 72
#define RBP 80
#define RBX 88
#define RDX 96
#define RAX 104
#define RCX 112
#define RSP 120
#define RIP 128
#define EFL 136
#define REGISTERS 184                   /* 23 words */

/* Loads all that a system call takes or keeps from the registers at rdi, but rdi itself and rsp. */
        .macro  LOAD_REGISTERS
        movq    R8(%rdi), %r8
        movq    R9(%rdi), %r9
        movq    R10(%rdi), %r10
        movq    R12(%rdi), %r12
        movq    R13(%rdi), %r13
        movq    R14(%rdi), %r14
        movq    R15(%rdi), %r15
        movq    RSI(%rdi), %rsi
        movq    RBP(%rdi), %rbp
        movq    RBX(%rdi), %rbx
        movq    RDX(%rdi), %rdx
        movq    RAX(%rdi), %rax
        .endm

/* Unwind: the program's frame is in the registers at the CFA. */
        .macro  CALLER_IN_REGISTERS
        .cfi_offset rip, RIP
        .cfi_offset rsp, RSP
        .cfi_offset rbp, RBP
        .cfi_offset rbx, RBX
        .cfi_offset r12, R12
        .cfi_offset r13, R13
        .cfi_offset r14, R14
        .cfi_offset r15, R15
        .endm

#endif
