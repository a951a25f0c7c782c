/*
 * The gate: every syscall instruction of this project stands between bide_gate_begin and bide_gate_end. Syscall User
 * Dispatch lets that range through; the kernel looks at the address after the instruction, so one more byte stands
 * behind the last.
 *
 * long bide_gate(long nr, long a, long b, long c, long d, long e, long f);
 *
 * Asks the kernel: moves a C call's arguments to where the kernel wants them.
 *
 * In:      rdi = nr, rsi rdx rcx r8 r9 = a b c d e, 8(%rsp) = f
 * Out:     rax = what the kernel answered, a value or -errno
 * Keeps:   all but rax, rcx, r11 (the syscall instruction) and rdi rsi rdx r8 r9 r10, as any C call
 */
#include "asm/registers.h"

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

/*
 * __restore_rt: where our signal handlers return to; bide_gate_restorer in C.
 *
 * Exactly these bytes and no unwind information, by which libgcc knows a signal frame, and glibc's name, without which
 * gdb doesn't.
 * bide_gate_sigreturn: its syscall instruction, for a sigreturn of the program's own, which came to SIGSYS.
 */
        .globl  __restore_rt
        .hidden __restore_rt
        .globl  bide_gate_sigreturn
        .hidden bide_gate_sigreturn
        .type   __restore_rt, @function
        .p2align 4
        nop
__restore_rt:
        .byte   0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00
bide_gate_sigreturn:
        .byte   0x0f, 0x05
        ud2
        .size   __restore_rt, . - __restore_rt

#ifdef BIDE_PRELOAD
/* Offsets in context::carrier_block, lib/context/thread_pointer.hpp. */
#define BLOCK_SIGNALLED 20
#define BLOCK_RESUME_AT 24
#define BLOCK_RETURNED  32

/*
 * long bide_gate_wait(long nr, long a, long b, long c, long d, long e, long f);
 *
 * As bide_gate, for a call that may wait: -EINTR without asking when a signal was noted since the last look. A handler
 * that interrupts it before its syscall instruction moves rip to bide_gate_wait_abort, so none is slept through.
 */
        .globl  bide_gate_wait
        .hidden bide_gate_wait
        .globl  bide_gate_wait_last
        .hidden bide_gate_wait_last
        .globl  bide_gate_wait_abort
        .hidden bide_gate_wait_abort
        .type   bide_gate_wait, @function
        .p2align 5
bide_gate_wait:
        .cfi_startproc
        endbr64
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        movq    %r8, %r10
        movq    %r9, %r8
        movq    8(%rsp), %r9
        cmpl    $0, %gs:BLOCK_SIGNALLED
        jne     bide_gate_wait_abort
bide_gate_wait_last:
        syscall
        ret
bide_gate_wait_abort:
        movq    $-4, %rax               /* -EINTR */
        ret
        .cfi_endproc
        .size   bide_gate_wait, . - bide_gate_wait

/*
 * void bide_gate_tail(const greg_t *registers);
 *
 * Makes the program's own call with all its own registers on its own stack, and goes on behind it: vfork, and clone with
 * CLONE_VFORK, whose child returns to the same place and may overwrite anything below its stack pointer. GS must point
 * to a block without a worker, which the child then has: its doors are closed.
 *
 * In:      rdi = the registers, in mcontext_t's order; not on the part of the stack that the child may use
 * Leaves:  to RIP, in the child first; in the parent with `returned` set in the block
 * Signals: that come to the parent behind the syscall instruction, up to the last one, find all as it leaves but RIP
 */
        .globl  bide_gate_tail
        .hidden bide_gate_tail
        .globl  bide_gate_tail_behind
        .hidden bide_gate_tail_behind
        .globl  bide_gate_tail_last
        .hidden bide_gate_tail_last
        .type   bide_gate_tail, @function
        .p2align 5
bide_gate_tail:
        .cfi_startproc
        .cfi_undefined rip
        movq    RIP(%rdi), %rax
        movq    %rax, %gs:BLOCK_RESUME_AT
        LOAD_REGISTERS
        movq    RSP(%rdi), %rsp
        movq    RDI(%rdi), %rdi
        syscall
bide_gate_tail_behind:
        testq   %rax, %rax
        jz      bide_gate_tail_last
        movl    $1, %gs:BLOCK_RETURNED
bide_gate_tail_last:
        jmp     *%gs:BLOCK_RESUME_AT
        .cfi_endproc
        .size   bide_gate_tail, . - bide_gate_tail

/*
 * long bide_gate_thread(unsigned long flags, void *stack, int *parent_tid, int *child_tid, unsigned long tls);
 *
 * clone(2) for a kernel thread of ours. The child begins on its stack, whose top holds the function it runs and its
 * argument; the function does not return.
 */
        .globl  bide_gate_thread
        .hidden bide_gate_thread
        .type   bide_gate_thread, @function
        .p2align 5
bide_gate_thread:
        .cfi_startproc
        endbr64
        movl    $56, %eax               /* SYS_clone */
        movq    %rcx, %r10
        syscall
        testq   %rax, %rax
        jz      1f
        ret
1:      .cfi_undefined rip
        xorl    %ebp, %ebp
        popq    %rax
        popq    %rdi
        call    *%rax
        ud2
        .cfi_endproc
        .size   bide_gate_thread, . - bide_gate_thread

/*
 * void bide_gate_end_thread(void *stack, unsigned long size);
 *
 * Ends the calling kernel thread and unmaps the stack it stands on.
 */
        .globl  bide_gate_end_thread
        .hidden bide_gate_end_thread
        .type   bide_gate_end_thread, @function
        .p2align 5
bide_gate_end_thread:
        .cfi_startproc
        .cfi_undefined rip
        movl    $11, %eax               /* SYS_munmap */
        syscall
        movl    $60, %eax               /* SYS_exit */
        xorl    %edi, %edi
        syscall
        ud2
        .cfi_endproc
        .size   bide_gate_end_thread, . - bide_gate_end_thread
#else
/*
 * void bide_gate_vfork(const greg_t *registers);
 *
 * Makes the program's own call with all its own registers on its own stack, and goes on behind it: vfork and its kin, whose
 * child returns to the same place first and may overwrite anything below its stack pointer. So the way on is kept in the
 * kernel thread's TLS, which parent and child share: vfork(2) is not for signal handlers, so no other comes between.
 *
 * In:      rdi = the registers, in mcontext_t's order
 * Leaves:  to RIP, in the child first
 */
        .section .tbss.bide_behind_vfork, "awT", @nobits
        .p2align 3
bide_behind_vfork:
        .zero   8
        .section .text.bide_gate
        .globl  bide_gate_vfork
        .hidden bide_gate_vfork
        .type   bide_gate_vfork, @function
        .p2align 5
bide_gate_vfork:
        .cfi_startproc
        .cfi_undefined rip
        movq    bide_behind_vfork@gottpoff(%rip), %rcx
        movq    RIP(%rdi), %rax
        movq    %rax, %fs:(%rcx)
        LOAD_REGISTERS
        movq    RSP(%rdi), %rsp
        movq    RDI(%rdi), %rdi
        syscall
        movq    bide_behind_vfork@gottpoff(%rip), %rcx
        jmp     *%fs:(%rcx)
        .cfi_endproc
        .size   bide_gate_vfork, . - bide_gate_vfork

/*
 * long bide_gate_clone(const greg_t *registers);
 *
 * Makes the program's own call with all its own registers, for a child that has a stack of its own: clone(2), clone3(2).
 *
 * In:      rdi = the registers, in mcontext_t's order; on the child's stack its rdi, its rsi, and where it goes on
 * Out:     rax = what the kernel answered, in the parent alone
 */
        .globl  bide_gate_clone
        .hidden bide_gate_clone
        .type   bide_gate_clone, @function
        .p2align 5
bide_gate_clone:
        .cfi_startproc
        endbr64
        .irp    saved, rbp, rbx, r12, r13, r14, r15
        pushq   %\saved
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset \saved, 0
        .endr
        LOAD_REGISTERS
        movq    RDI(%rdi), %rdi
        syscall
        testq   %rax, %rax
        jz      1f
        .cfi_remember_state
        .irp    saved, r15, r14, r13, r12, rbx, rbp
        popq    %\saved
        .cfi_adjust_cfa_offset -8
        .cfi_restore \saved
        .endr
        ret
        .cfi_restore_state
1:      .cfi_undefined rip
        popq    %rdi
        popq    %rsi
        ret
        .cfi_endproc
        .size   bide_gate_clone, . - bide_gate_clone
#endif
        .byte   0x0f, 0x0b
bide_gate_end:

        .section .note.GNU-stack, "", @progbits
