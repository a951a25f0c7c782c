/*
 * bide_fiber_entry
 *
 * Where a fiber's first switch arrives, on its own empty stack, and where its last one leaves from. Unwinders and
 * backtraces end here.
 *
 * In:      rdi = the context that switched, rsi = the data it passed: as bide_fiber_main takes them
 * Stack:   8 past a multiple of 16, as at any function's entry; there is no caller to return to
 * Leaves:  by the switch that bide_fiber_main returns: rax = the context to go to, rdx = what it is told
 * Unwind:  rip is undefined here, so this is the outermost frame (DWARF 5, 6.4.4); rbp ends the frame-pointer chain
 */
        .text
        .globl  bide_fiber_entry
        .hidden bide_fiber_entry
        .type   bide_fiber_entry, @function
        .p2align 4
bide_fiber_entry:
        .cfi_startproc
        .cfi_undefined rip
        endbr64
        xorl    %ebp, %ebp
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    bide_fiber_main
        movq    %rax, %rdi
        movq    %rdx, %rsi
        pushq   $0
        .cfi_adjust_cfa_offset 8
        jmp     jump_fcontext@PLT
        .cfi_endproc
        .size   bide_fiber_entry, . - bide_fiber_entry

        .section .note.GNU-stack, "", @progbits
