#include "asm/registers.h"

/*
 * void bide_resume(const greg_t *registers, void *vectors);
 *
 * Goes on behind a syscall instruction of the program, without a trip to the kernel. The instruction clobbers rcx and
 * r11, so these carry the way back.
 *
 * In:      rdi = the registers, rsi = an XSAVE area or null
 * Leaves:  to RIP with everything as in the registers but rcx, r11
 * Signals: may come at any instruction; a handler runs below all that is still needed
 */
        .text
        .globl  bide_resume
        .hidden bide_resume
        .hidden bide_vector_mask
        .type   bide_resume, @function
        .p2align 5
bide_resume:
        .cfi_startproc
        .cfi_def_cfa rdi, 0
        .cfi_offset rip, RIP
        .cfi_offset rsp, RSP
        .cfi_offset rbp, RBP
        .cfi_offset rbx, RBX
        .cfi_offset r12, R12
        .cfi_offset r13, R13
        .cfi_offset r14, R14
        .cfi_offset r15, R15
        testq   %rsi, %rsi
        jz      1f
        movl    bide_vector_mask(%rip), %eax
        xorl    %edx, %edx
        xrstor  (%rsi)
1:      pushq   EFL(%rdi)
        popfq
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
        movq    RIP(%rdi), %rcx
        movq    RSP(%rdi), %r11
        movq    RDI(%rdi), %rdi
        .cfi_def_cfa r11, 0
        .cfi_register rip, rcx
        .cfi_register rsp, r11
        .cfi_same_value rbp
        .cfi_same_value rbx
        .cfi_same_value r12
        .cfi_same_value r13
        .cfi_same_value r14
        .cfi_same_value r15
        movq    %r11, %rsp
        jmp     *%rcx
        .cfi_endproc
        .size   bide_resume, . - bide_resume

        .section .note.GNU-stack, "", @progbits
