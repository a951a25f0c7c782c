/* Wrapping calls: observing, refusing, delaying or replacing what the program asks of the kernel. For C, and for libraries
 * that are preloaded after libbide-preload.so; C++ has <bide/calls.hpp>.
 *
 * A wrapper is called in place of the call, on the fiber that makes it, or of a preloaded program, on its thread. What the
 * wrapper returns, a value or -errno, is what the program gets. Calls that a wrapper makes itself are not wrapped.
 *
 * Wrappers of a number lie in one another: the last added is the outermost. One that is removed meets no call that begins
 * after that. Where nothing is wrapped a call executes the same instructions as if there were no wrappers. */
#ifndef BIDE_CALLS_H
#define BIDE_CALLS_H

/* A plug-in for preloaded programs says BIDE_PLUGIN before it includes this: without a bide to plug into, the functions
 * are null. */
#ifdef BIDE_PLUGIN
#define BIDE_CALLS_API __attribute__((weak))
#else
#define BIDE_CALLS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A call on its way. The arguments may be changed before it goes on. */
struct bide_passing_call {
  long number;       /* SYS_read and kin */
  long arguments[6];
  unsigned long fiber;  /* who makes it: the fiber's id; of a preloaded program, the thread's */
};

typedef long bide_wrapper_function(struct bide_passing_call *call, void *data);
struct bide_wrapper;

/* Wraps a number from now on, for all fibers or, if `fiber` is not 0, for one. `release`, if not null, is called with
 * `data` once the wrapper is removed and the last call has left it. The function must not throw.
 * Returns null with errno: EINVAL (no such number, or one whose call goes on from the caller's registers: fork, clone,
 * clone3, vfork, execve, execveat, exit, exit_group, rt_sigreturn), ENOSPC (16 on this number), ENOMEM. Any thread. */
BIDE_CALLS_API struct bide_wrapper *bide_wrapper_add(long number, bide_wrapper_function *function, void *data,
                                                     void (*release)(void *data), unsigned long fiber);

/* Takes the wrapper away; calls that are in it end in it. Any thread, also from within. */
BIDE_CALLS_API void bide_wrapper_remove(struct bide_wrapper *wrapper);

/* In a wrapper: makes the call, by way of the wrappers further in. Returns a value or -errno. May be called more than
 * once, or not at all. */
BIDE_CALLS_API long bide_call_go_on(struct bide_passing_call *call);

/* The call's name, "read"; null where Linux has none of that number. */
BIDE_CALLS_API const char *bide_call_name(long number);

/* Whether the call may make its caller wait: 1 or 0. */
BIDE_CALLS_API int bide_call_waits(long number);

#ifdef __cplusplus
}
#endif
#endif
