/* System calls by instructions of one's own, past libc's names: each returns what the kernel answers, a value or -errno. */
#ifndef RAW_CALLS_H
#define RAW_CALLS_H

#ifdef __cplusplus
extern "C" {
#endif

long raw_call(long nr, long a, long b, long c, long d, long e, long f);

/* Sleeps by nanosleep; returns whether every register that the instruction keeps is as it was: callee-saved ones, the
 * arguments, xmm8 and xmm15, and how sums are rounded. */
int raw_sleep_keeps_registers(long nanoseconds);

/* vfork: the child exits with that status. Returns its id. */
long raw_vfork_and_exit(int status);

/* A kernel thread on that stack (its top, 16-byte aligned), which writes `byte` to the descriptor and ends. Returns its id. */
long raw_thread_that_writes(void *stack_top, int fd, int byte);

#ifdef __cplusplus
}
#endif

#endif
