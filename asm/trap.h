/*
 * Into the runtime and out of it by the trap door; see resume.S, trap.S and gate.S for each one's contract.
 */
#ifndef BIDE_ASM_TRAP_H
#define BIDE_ASM_TRAP_H

/* A patched site's stub; see lib/door/patch.cpp. Debian 12's libc has some 500 sites. */
#define BIDE_STUBS 1024
#define BIDE_STUB_BYTES 64
#define BIDE_STUB_WORDS 48

#ifndef __ASSEMBLER__

#include <signal.h>
#include <sys/ucontext.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Goes on behind a syscall instruction of the program. */
void bide_resume(const greg_t *registers, void *vectors) __attribute__((noreturn));

/* The syscall instruction of bide_gate_restorer. */
extern const char bide_gate_sigreturn[];

/* What bide_resume restores of an XSAVE area: the low half of XCR0, or some of it. */
extern unsigned bide_vector_mask;

/* In a linked program: makes its own call with all its registers, for vfork, and for a child with a stack of its own. */
void bide_gate_vfork(const greg_t *registers) __attribute__((noreturn));
long bide_gate_clone(const greg_t *registers);

/* What follows is of preloaded programs. */

/* Runs f(argument) on the stack that ends at top. */
void bide_on_stack(void (*f)(void *), void *argument, void *top);

/* Copies between the program's memory and ours: 0 or -EFAULT. Its fault, and where to go on then. */
long bide_copy(void *to, const void *from, unsigned long bytes);
extern const char bide_copy_move[], bide_copy_fault[];

/* As bide_gate for a call that may wait: -EINTR when a signal was noted since the last look. */
long bide_gate_wait(long nr, long a, long b, long c, long d, long e, long f);
extern const char bide_gate_wait_last[], bide_gate_wait_abort[];

/* Goes on in a signal's handler as if the kernel had put its frame there: below it lies free stack. */
void bide_enter_frame(void *frame, void (*handler)(int, siginfo_t *, void *), int number, siginfo_t *info, void *context)
    __attribute__((noreturn));

/* Makes the program's own call with all its registers on its own stack, for vfork. */
void bide_gate_tail(const greg_t *registers) __attribute__((noreturn));
extern const char bide_gate_tail_behind[], bide_gate_tail_last[];

/* A kernel thread of ours; the top of its stack holds a function and its argument. */
long bide_gate_thread(unsigned long flags, void *stack, int *parent_tid, int *child_tid, unsigned long tls);
void bide_gate_end_thread(void *stack, unsigned long size) __attribute__((noreturn));

/* Where patched sites' stubs jump to, and the stubs: whole pages of code. */
void bide_patched(void);
extern char bide_stubs[], bide_stubs_end[];

/* The room that bide_vector_mask's state takes; set before the doors open. */
extern unsigned long bide_vector_bytes;
/* Whether the processor tells which of it is in use; set before there are stubs. */
extern unsigned char bide_tells_in_use;

#ifdef __cplusplus
}
#endif

#endif /* __ASSEMBLER__ */

#endif
