/*
 * long bide_gate(long nr, long a, long b, long c, long d, long e, long f);
 *
 * Asks the kernel: moves a C call's arguments to where the kernel wants them.
 *
 * In:      rdi = nr, rsi rdx rcx r8 r9 = a b c d e, 8(%rsp) = f
 * Out:     rax = what the kernel answered, a value or -errno
 * Keeps:   all but rax, rcx, r11 (the syscall instruction) and rdi rsi rdx r8 r9 r10, as any C call
 */
        .section .text.bide_gate, "ax", @progbits
        .globl  bide_gate_begin
        .hidden bide_gate_begin
        .globl  bide_gate_end
        .hidden bide_gate_end
        .globl  bide_gate
        .hidden bide_gate
        .type   bide_gate, @function
        .p2align 5
bide_gate_begin:
bide_gate:
        .cfi_startproc
        endbr64
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        movq    %r8, %r10
        movq    %r9, %r8
        movq    8(%rsp), %r9
        syscall
        ret
        .cfi_endproc
        .size   bide_gate, . - bide_gate
bide_gate_end:

        .section .note.GNU-stack, "", @progbits
