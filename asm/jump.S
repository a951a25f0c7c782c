/*
 * transfer bide_jump(context to, void *data);
 *
 * jump_fcontext, with the processor's return predictor kept in step.
 *
 * jump_fcontext leaves by an indirect jump, so the return address that its call pushed is never returned through, and
 * every later ret of the fiber that runs next is predicted one off: three mispredicted returns cost more than the switch.
 * Here the jump comes back to a ret of our own: each call is matched by one ret, and fibers that switch at the same place
 * find each other's prediction right.
 *
 * In:      rdi = the context to go to, rsi = what it is told
 * Out:     rax, rdx = who came back, and what it told, as jump_fcontext
 * Keeps:   what jump_fcontext keeps: rbx rbp rsp r12-r15, MXCSR, the x87 control word
 */
        .text
        .globl  bide_jump
        .hidden bide_jump
        .type   bide_jump, @function
        .p2align 4
bide_jump:
        .cfi_startproc
        endbr64
        leaq    .Lback(%rip), %rax
        pushq   %rax
        .cfi_adjust_cfa_offset 8
        jmp     jump_fcontext@PLT
        .cfi_adjust_cfa_offset -8
.Lback:
        ret
        .cfi_endproc
        .size   bide_jump, . - bide_jump

        .section .note.GNU-stack, "", @progbits
