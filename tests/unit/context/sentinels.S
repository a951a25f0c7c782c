/*
 * long bide_test_sentinels(long seed, void (*call)(void *), void *argument);
 *
 * Plants seed+1 ... seed+6 in the callee-saved registers, calls, and counts those that came back changed.
 *
 * In:      rdi = seed, rsi = what to call, rdx = its argument
 * Out:     rax = registers changed, of rbx rbp r12 r13 r14 r15
 * Keeps:   as any C function
 * Stack:   six registers and the seed, so that the call is aligned
 */
        .text
        .globl  bide_test_sentinels
        .type   bide_test_sentinels, @function
        .p2align 4
bide_test_sentinels:
        .cfi_startproc
        endbr64
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rdi
        .cfi_adjust_cfa_offset 56
        .cfi_rel_offset rbx, 48
        .cfi_rel_offset rbp, 40
        .cfi_rel_offset r12, 32
        .cfi_rel_offset r13, 24
        .cfi_rel_offset r14, 16
        .cfi_rel_offset r15, 8
        leaq    1(%rdi), %rbx
        leaq    2(%rdi), %rbp
        leaq    3(%rdi), %r12
        leaq    4(%rdi), %r13
        leaq    5(%rdi), %r14
        leaq    6(%rdi), %r15
        movq    %rdx, %rdi
        call    *%rsi
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        xorl    %eax, %eax
        .irp    number, 1, 2, 3, 4, 5, 6
        incq    %rdi
        .if     \number == 1
        cmpq    %rdi, %rbx
        .elseif \number == 2
        cmpq    %rdi, %rbp
        .elseif \number == 3
        cmpq    %rdi, %r12
        .elseif \number == 4
        cmpq    %rdi, %r13
        .elseif \number == 5
        cmpq    %rdi, %r14
        .else
        cmpq    %rdi, %r15
        .endif
        je      1f
        incq    %rax
1:
        .endr
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        .cfi_adjust_cfa_offset -48
        .cfi_restore rbx
        .cfi_restore rbp
        .cfi_restore r12
        .cfi_restore r13
        .cfi_restore r14
        .cfi_restore r15
        ret
        .cfi_endproc
        .size   bide_test_sentinels, . - bide_test_sentinels

        .section .note.GNU-stack, "", @progbits
