/*
 * bide: blocking code that waits without blocking. The C API, C99.
 *
 * Conventions. A function that can fail returns 0 (or what it says) or a negative errno:
 *   -EINVAL     a null handle or pointer, or a bad value
 *   -EPERM      called where it cannot be: most often outside a fiber
 *   -ENOMEM, -EAGAIN, -EMFILE   no memory, stack, thread or descriptor is left
 *   -ECANCELED  the calling fiber was cancelled; delivered once
 *   -ETIMEDOUT  a deadline passed: the call's own, or that of a bide_timeout around it
 *   -EPIPE      the channel is closed
 * No C++ exception crosses it. Handles are opaque; a _free of a null handle does nothing. Times are nanoseconds: lengths
 * as they are, deadlines on CLOCK_MONOTONIC, BIDE_NEVER for none. "Parks" means that the calling fiber waits while others
 * run; on a plain thread the thread is blocked. A handle may be used by any thread, unless it is said otherwise.
 * libc's own calls wait through the same runtime if libbide-hook is linked: see bide(7).
 */
#ifndef BIDE_H
#define BIDE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BIDE_C_API __attribute__((visibility("default")))
#else
#define BIDE_C_API
#endif

#define BIDE_NEVER INT64_MAX

/* ---- Runtimes ---- */

/* Zero means the default everywhere. */
typedef struct bide_options {
  unsigned workers;          /* kernel threads that run fibers, 1 to 64; default 1 */
  size_t stack_size;         /* address space of a fiber's stack, 16 KiB to 1 GiB; default 256 KiB */
  unsigned offload_threads;  /* threads for bide_offload, 1 to 4096; default 64 */
  uint64_t seed;             /* of the order of fibers, with time of its own: options::seed in bide/options.hpp; default none */
  int trap;                  /* 1: syscall instructions outside libc park too, -1: they don't: options::trap; default BIDE_TRAP's */
  int files;                 /* 1: what waits for a disk waits on an offload thread: options::files; default: on the worker */
} bide_options;

/* Runs f(argument) as the first fiber of a new runtime on the calling thread; stores what it returned, if asked. When it
 * has returned, fibers still alive are cancelled and waited for. In a fiber, calls f there and then. `how` may be null.
 * -EDEADLK: every fiber was parked and nothing was left that could wake one. */
BIDE_C_API int bide_run(const bide_options *how, int (*f)(void *argument), void *argument, int *result);

typedef struct bide_runtime bide_runtime;

/* Starts a runtime on threads of its own, beside the program's. */
BIDE_C_API int bide_runtime_start(bide_runtime **out, const bide_options *how);
/* Makes a runtime without threads, which runs when the calling thread steps it. */
BIDE_C_API int bide_runtime_stepped(bide_runtime **out, const bide_options *how);
/* Cancels its fibers, waits for their ends, and frees it. On the thread that made it. */
BIDE_C_API void bide_runtime_free(bide_runtime *rt);
/* Returns a descriptor that can be read when bide_runtime_poll has something to do. Stepped ones only. */
BIDE_C_API int bide_runtime_fd(bide_runtime *rt);
/* Runs what is ready, never waits; stores when it wants to be called again, if asked. Stepped ones only. */
BIDE_C_API int bide_runtime_poll(bide_runtime *rt, int64_t *again_ns);

/* ---- Tasks ---- */

typedef struct bide_task bide_task;

typedef struct bide_spawn_options {
  const char *name;   /* copied; null: "fiber-<id>" */
  size_t stack_size;  /* 0: the runtime's */
} bide_spawn_options;

typedef enum bide_task_state_t {
  BIDE_PENDING,
  BIDE_RUNNING,
  BIDE_PARKED,
  BIDE_DONE,
  BIDE_FAILED,    /* a C++ function that it called has thrown */
  BIDE_CANCELLED  /* a C++ function that it called has thrown bide::cancelled */
} bide_task_state_t;

/* Runs f(argument) in a new fiber of the caller's runtime. With a null `out` nobody waits for it. `how` may be null. */
BIDE_C_API int bide_spawn(bide_task **out, const bide_spawn_options *how, void *(*f)(void *argument), void *argument);
/* The same in that runtime, from any thread. -EPERM when the runtime is ending. */
BIDE_C_API int bide_runtime_spawn(bide_runtime *rt, bide_task **out, const bide_spawn_options *how,
                                  void *(*f)(void *argument), void *argument);
/* Parks until the task has ended, at most until the deadline; stores what it returned, if asked. As often as one likes.
 * -EIO or -ECANCELED: it ended as BIDE_FAILED or BIDE_CANCELLED. -EDEADLK: it is the caller itself, or goes
 * on only by bide_runtime_poll on this thread and until_ns is BIDE_NEVER. */
BIDE_C_API int bide_task_join(bide_task *t, int64_t until_ns, void **result);
/* Asks the task to end: the wait it is in, or the next it begins, ends with -ECANCELED. Once. Never parks. */
BIDE_C_API int bide_task_cancel(bide_task *t);
/* Returns a bide_task_state_t. */
BIDE_C_API int bide_task_state(bide_task *t);
BIDE_C_API uint64_t bide_task_id(bide_task *t); /* 0 for a null handle */
/* Has call(argument, state) called when the task has ended; at once if it has. */
BIDE_C_API int bide_task_on_done(bide_task *t, void (*call)(void *argument, int state), void *argument);
/* Gives the handle up; the task goes on by itself. */
BIDE_C_API void bide_task_free(bide_task *t);
/* Parks until the first of them has ended; returns its place. */
BIDE_C_API int bide_first_of(bide_task *const *tasks, size_t count);

/* ---- The running fiber ---- */

BIDE_C_API uint64_t bide_fiber_id(void);                      /* 0 on a plain thread */
BIDE_C_API int bide_fiber_name(char *to, size_t size);        /* cut off to fit; returns its length */
BIDE_C_API void bide_yield(void);
BIDE_C_API int64_t bide_now_ns(void);                         /* CLOCK_MONOTONIC */
BIDE_C_API int64_t bide_deadline_ns(int64_t length_ns);       /* that long from now */
BIDE_C_API int bide_sleep_ns(int64_t length_ns);              /* parks */
/* Runs work(argument) on a kernel thread while other fibers run; parks until it has returned. `what` is told in reports. */
BIDE_C_API int bide_offload(void (*work)(void *argument), void *argument, const char *what);

/* A deadline for every wait of the calling fiber, libc's too, until bide_timeout_end. They nest. */
typedef struct bide_timeout bide_timeout;
BIDE_C_API int bide_timeout_begin(bide_timeout **out, int64_t length_ns);
BIDE_C_API int bide_timeout_expired(const bide_timeout *t); /* 1, 0 or -EINVAL */
BIDE_C_API void bide_timeout_end(bide_timeout *t);           /* on the fiber that began it */
/* Calls f(argument) with cancels and the deadlines around it kept off. */
BIDE_C_API int bide_shield(void (*f)(void *argument), void *argument);

/* ---- Groups: children that end before the group does ---- */

typedef struct bide_group bide_group;

/* max_concurrency 0: no limit. */
BIDE_C_API int bide_group_new(bide_group **out, size_t max_concurrency);
/* A child that returns less than 0 has failed: the others are cancelled, and bide_group_wait returns that. */
BIDE_C_API int bide_group_spawn(bide_group *g, int (*f)(void *argument), void *argument);
BIDE_C_API int bide_group_cancel(bide_group *g);
/* Parks until all children have ended. Returns 0, or what the first to fail returned. */
BIDE_C_API int bide_group_wait(bide_group *g);
/* Cancels the children that are left, waits for them, and frees it. */
BIDE_C_API void bide_group_free(bide_group *g);

/* ---- Channels of pointers ---- */

typedef struct bide_channel bide_channel;

#define BIDE_UNBOUNDED SIZE_MAX

/* Capacity 0: a send waits until its value is received. */
BIDE_C_API int bide_channel_new(bide_channel **out, size_t capacity);
/* A deadline in the past, such as 0, makes them try once: -ETIMEDOUT is "not now". */
BIDE_C_API int bide_channel_send(bide_channel *c, void *value, int64_t until_ns);
BIDE_C_API int bide_channel_receive(bide_channel *c, void **value, int64_t until_ns);
BIDE_C_API int bide_channel_close(bide_channel *c); /* -EBADF: it is closed already */
BIDE_C_API void bide_channel_free(bide_channel *c);

typedef enum bide_case_kind {
  BIDE_RECEIVE,
  BIDE_SEND,
  BIDE_READABLE,
  BIDE_WRITABLE,
  BIDE_TASK
} bide_case_kind;

typedef struct bide_select_case {
  int kind;              /* a bide_case_kind */
  bide_channel *channel; /* of a receive or send */
  void *value;           /* to be sent; or received */
  int fd;
  bide_task *task;
} bide_select_case;

/* Parks until one of them comes, at most until the deadline; returns its place. Exactly one happens. -EPIPE: the channel
 * that came is closed; its place is stored, if asked. -EINVAL: no case at all. */
BIDE_C_API int bide_select(bide_select_case *cases, size_t count, int64_t until_ns, size_t *place);

/* ---- Locks and meetings, for fibers of all workers and plain threads ---- */

typedef struct bide_mutex bide_mutex;
BIDE_C_API int bide_mutex_new(bide_mutex **out);
BIDE_C_API int bide_mutex_lock(bide_mutex *m, int64_t until_ns);
BIDE_C_API int bide_mutex_unlock(bide_mutex *m);
BIDE_C_API void bide_mutex_free(bide_mutex *m);

typedef struct bide_cond bide_cond;
BIDE_C_API int bide_cond_new(bide_cond **out);
/* The mutex is held again on every return but -EINVAL. A wait can end for nothing. */
BIDE_C_API int bide_cond_wait(bide_cond *c, bide_mutex *m, int64_t until_ns);
BIDE_C_API int bide_cond_signal(bide_cond *c);
BIDE_C_API int bide_cond_broadcast(bide_cond *c);
BIDE_C_API void bide_cond_free(bide_cond *c);

typedef struct bide_semaphore bide_semaphore;
BIDE_C_API int bide_semaphore_new(bide_semaphore **out, ptrdiff_t permits);
BIDE_C_API int bide_semaphore_acquire(bide_semaphore *s, int64_t until_ns);
BIDE_C_API int bide_semaphore_release(bide_semaphore *s, ptrdiff_t permits);
BIDE_C_API void bide_semaphore_free(bide_semaphore *s);

typedef struct bide_event bide_event;
BIDE_C_API int bide_event_new(bide_event **out);
BIDE_C_API int bide_event_set(bide_event *e);
BIDE_C_API int bide_event_clear(bide_event *e);
BIDE_C_API int bide_event_wait(bide_event *e, int64_t until_ns);
BIDE_C_API void bide_event_free(bide_event *e);

#ifdef __cplusplus
}
#endif

#endif /* BIDE_H */
