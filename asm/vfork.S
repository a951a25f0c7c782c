/*
 * pid_t vfork(void);
 *
 * libc's own, entered as if called from the program: its child runs on the caller's stack and returns there first, so no
 * frame may be between. What is to be noted before it is done by bide_before_vfork, which says where libc's vfork is.
 */
        .text
        .globl  vfork
        .type   vfork, @function
        .p2align 4
vfork:
        .cfi_startproc
        endbr64
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    bide_before_vfork
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        jmp     *%rax
        .cfi_endproc
        .size   vfork, . - vfork
        .globl  __vfork
        .set    __vfork, vfork

        .section .note.GNU-stack, "", @progbits
