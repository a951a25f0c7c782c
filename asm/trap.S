/*
 * Into the runtime and out of it, in a preloaded program.
 *
 * Registers are kept as mcontext_t has them (sys/ucontext.h, the kernel's struct sigcontext), so what a trap and a patched
 * site hand over looks alike.
 */
#include "asm/registers.h"
#include "asm/trap.h"

#define WIDE_VECTORS 0x44               /* of ymm0-15 and zmm0-15, as in XCR0 */

        .hidden bide_vector_mask
        .hidden bide_vector_bytes
        .hidden bide_tells_in_use
        .text
/*
 * bide_stubs: one for each patched syscall site of libc, written by lib/door/patch.cpp. A stub is code, which comes here
 * from the site with everything as the program left it, and two words.
 *
 * Unwind:  wherever in a stub, the program's frame is behind the site's syscall instruction: its first word says where
 *          that is, and the stub's own address where the word is
 */
        .globl  bide_stubs
        .hidden bide_stubs
        .globl  bide_stubs_end
        .hidden bide_stubs_end
        .type   bide_stubs, @function
        .p2align 12
bide_stubs:
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_def_cfa rsp, 0
        /* rip is saved at (rip & -64) + BIDE_STUB_WORDS: DW_CFA_expression(16), 7 bytes: DW_OP_breg16 0,
           DW_OP_const1s -64, DW_OP_and, DW_OP_plus_uconst 48 */
        .cfi_escape 0x10, 16, 7, 0x80, 0, 0x09, 0xc0, 0x1a, 0x23, BIDE_STUB_WORDS
        .fill   BIDE_STUBS * BIDE_STUB_BYTES, 1, 0xcc
        .cfi_endproc
        .size   bide_stubs, . - bide_stubs
        .p2align 12
bide_stubs_end:

/*
 * bide_patched
 *
 * Where a patched site arrives from its stub: as a trap would, at a fraction of the cost.
 *
 * The whole vector state is kept only where a register is in use beyond its xmm part: to save and restore it costs as much as
 * the kernel call itself. Else the xmm registers and MXCSR are all that libc's code may have something in, because what a
 * site stands in is C, made for the processor's baseline; where it is made for AVX, its registers are in use.
 *
 * In:      rcx = the stub's two words: the address behind the site's syscall instruction, and where to go on;
 *          everything else is the program's
 * Calls:   bide_patched_call(registers), which leaves the answer in RAX; the way on is in RCX
 * Leaves:  to the way on, with rax = the answer, and all as a syscall instruction keeps it: flags, vector registers, the
 *          128 bytes below rsp
 * Unwind:  the program's frame is behind the site, as after a trap
 */
        .globl  bide_patched
        .hidden bide_patched
        .type   bide_patched, @function
        .p2align 5
bide_patched:
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_def_cfa rsp, 0
        .cfi_escape 0x10, 16, 2, 0x72, 0        /* rip is saved at (rcx): DW_CFA_expression, DW_OP_breg2 0 */
        movq    %rsp, %r11
        .cfi_def_cfa_register r11
        leaq    -128(%rsp), %rsp
        pushfq
        subq    $REGISTERS, %rsp
        andq    $-64, %rsp
        movq    %r8, R8(%rsp)
        movq    %r9, R9(%rsp)
        movq    %r10, R10(%rsp)
        movq    %r12, R12(%rsp)
        movq    %r13, R13(%rsp)
        movq    %r14, R14(%rsp)
        movq    %r15, R15(%rsp)
        movq    %rdi, RDI(%rsp)
        movq    %rsi, RSI(%rsp)
        movq    %rbp, RBP(%rsp)
        movq    %rbx, RBX(%rsp)
        movq    %rdx, RDX(%rsp)
        movq    %rax, RAX(%rsp)
        movq    %r11, RSP(%rsp)
        movq    -136(%r11), %rax
        movq    %rax, EFL(%rsp)
        movq    (%rcx), %rax
        movq    %rax, RIP(%rsp)
        movq    8(%rcx), %rax
        movq    %rax, RCX(%rsp)
        cld
        movq    %rsp, %rbx
        .cfi_def_cfa rbx, 0
        CALLER_IN_REGISTERS
        /* XGETBV of 1: what of the vector state isn't as at a program's start (Intel SDM, volume 1, 13.6). */
        cmpb    $0, bide_tells_in_use(%rip)
        je      1f
        movl    $1, %ecx
        xgetbv
        testl   $WIDE_VECTORS, %eax
        jz      2f
        /* XSAVE to a 64-byte aligned area, whose header is zeroed first (13.7). */
1:      subq    bide_vector_bytes(%rip), %rsp
        xorl    %edx, %edx
        .irp    word, 512, 520, 528, 536, 544, 552, 560, 568
        movq    %rdx, \word(%rsp)
        .endr
        movl    bide_vector_mask(%rip), %eax
        xsave   (%rsp)
        movq    %rbx, %rdi
        call    bide_patched_call
        movq    %rsp, %rsi
3:      movq    RCX(%rbx), %rax
        movq    %rax, RIP(%rbx)
        movq    %rbx, %rdi
        jmp     bide_resume
2:      subq    $16 * 16 + 16, %rsp
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movaps  %xmm\n, \n * 16(%rsp)
        .endr
        stmxcsr 256(%rsp)
        movq    %rbx, %rdi
        call    bide_patched_call
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movaps  \n * 16(%rsp), %xmm\n
        .endr
        ldmxcsr 256(%rsp)
        xorl    %esi, %esi
        jmp     3b
        .cfi_endproc
        .size   bide_patched, . - bide_patched

/*
 * void bide_on_stack(void (*f)(void *), void *argument, void *top);
 *
 * Runs f(argument) on the stack that ends at top, and returns on the caller's own.
 *
 * In:      rdi = f, rsi = argument, rdx = top, 16-byte aligned
 * Unwind:  rbp holds the old rsp while f runs, so a backtrace and a forced unwind cross
 */
        .globl  bide_on_stack
        .hidden bide_on_stack
        .type   bide_on_stack, @function
        .p2align 4
bide_on_stack:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register rbp
        movq    %rdx, %rsp
        movq    %rdi, %rax
        movq    %rsi, %rdi
        call    *%rax
        movq    %rbp, %rsp
        popq    %rbp
        .cfi_def_cfa rsp, 8
        ret
        .cfi_endproc
        .size   bide_on_stack, . - bide_on_stack

/*
 * void bide_enter_frame(void *frame, void (*handler)(int, siginfo_t *, void *), int number, siginfo_t *info, void *context);
 *
 * Goes on in a signal's handler as if the kernel had put its frame there. What lies on the stack left behind may go.
 *
 * In:      rdi = the frame, which begins with the address that the handler returns to; rsi = handler, edx rcx r8 = its arguments
 */
        .globl  bide_enter_frame
        .hidden bide_enter_frame
        .type   bide_enter_frame, @function
        .p2align 4
bide_enter_frame:
        .cfi_startproc
        endbr64
        movq    %rdi, %rsp
        movq    %rsi, %rax
        movl    %edx, %edi
        movq    %rcx, %rsi
        movq    %r8, %rdx
        jmp     *%rax
        .cfi_endproc
        .size   bide_enter_frame, . - bide_enter_frame

/*
 * long bide_copy(void *to, const void *from, unsigned long bytes);
 *
 * Copies between the program's memory and ours, as the kernel does with a call's arguments: 0, or -EFAULT where either
 * is no memory. A fault at bide_copy_move comes to our handler, which goes on at bide_copy_fault.
 */
        .globl  bide_copy
        .hidden bide_copy
        .globl  bide_copy_move
        .hidden bide_copy_move
        .globl  bide_copy_fault
        .hidden bide_copy_fault
        .type   bide_copy, @function
        .p2align 4
bide_copy:
        .cfi_startproc
        endbr64
        movq    %rdx, %rcx
bide_copy_move:
        rep movsb
        xorl    %eax, %eax
        ret
bide_copy_fault:
        movq    $-14, %rax              /* -EFAULT */
        ret
        .cfi_endproc
        .size   bide_copy, . - bide_copy

        .section .note.GNU-stack, "", @progbits
