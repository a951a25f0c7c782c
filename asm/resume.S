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
        CALLER_IN_REGISTERS
        testq   %rsi, %rsi
        jz      1f
        movl    bide_vector_mask(%rip), %eax
        xorl    %edx, %edx
        xrstor  (%rsi)
1:      pushq   EFL(%rdi)
        popfq
        LOAD_REGISTERS
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
