// What libbide.so exports for libbide-hook.so, besides the thread-local that names the worker; not for programs.
#pragma once

#include <bide/detail/export.hpp>
#include <time.h>

// In a preloaded program libc's cancellation unwinds out of a signal handler that runs within a call.
#ifdef BIDE_PRELOAD
#define BIDE_MAY_UNWIND
#else
#define BIDE_MAY_UNWIND noexcept
#endif

extern "C" {

// Makes the call through the table, or else to the kernel. On a fiber, parks as the call would have blocked.
BIDE_API long bide_call(long nr, long a, long b, long c, long d, long e, long f) BIDE_MAY_UNWIND;

// The kernel's own answer, through the gate.
BIDE_API long bide_raw(long nr, long a, long b, long c, long d, long e, long f) noexcept;

// A number's owner is about to go, by other means than a call of the table. Any thread.
BIDE_API void bide_leaving(int fd) noexcept;

// Another process may hold every descriptor from now on. Any thread.
BIDE_API void bide_sharing() noexcept;

// Runs `work` on an offload thread and parks until it has; `what` is told in reports. Returns 0 or -EAGAIN.
BIDE_API int bide_offload(void (*work)(void*), void* argument, const char* what) noexcept;

// The same for what waits until another fiber or thread has gone on: on a thread beyond options::offload_threads.
BIDE_API int bide_await_elsewhere(void (*work)(void*), void* argument, const char* what) noexcept;

// What ends a wait on such a thread. by_any: what ends any wait, by a signal to the thread, which has libc say EINTR.
// but_handlers: the same, and no signal handler. by_cancel: neither, and by pthread_cancel(3).
enum bide_end { bide_by_any, bide_but_handlers, bide_by_cancel };

// Makes `work`'s call on such a thread until it is over or ended. Returns what it returned, which is -EINTR if a signal
// ended it; in that one's place, and in a cancelled one's, -EINTR (a handler ran), -ECANCELED or -ETIMEDOUT. -ENOMEM: no thread.
BIDE_API long bide_await_call(long (*work)(void*), void* argument, const char* what, bide_end by) noexcept;

// Runs `work`, which owns all it touches, on an offload thread, or on one beyond them, until it is over, or the wait for it is
// ended; then `drop` follows it there. Returns 0: it is over, and `argument` the caller's again. -ECANCELED, -ETIMEDOUT, -EAGAIN
// (no thread): it is no more.
enum bide_thread { bide_counted, bide_beyond };
BIDE_API int bide_offload_apart(void (*work)(void*), void (*drop)(void*), void* argument, const char* what,
                                bide_thread where) noexcept;

#ifdef BIDE_PRELOAD
// Gives the thread with that thread pointer the name `from`, and tells it in `to`, unless null: 16 bytes each. Returns
// whether there is such a thread. On a fiber.
bool bide_change_name(unsigned long thread_pointer, const char* from, char* to) noexcept;
#endif

#ifndef BIDE_PRELOAD
// Whether the trap door is open in the process, so that no handler may block SIGSYS.
BIDE_API bool bide_traps() noexcept;
#endif

// Runtimes in the process now.
BIDE_API unsigned bide_runtimes() noexcept;

#ifndef BIDE_PRELOAD
// On a fiber: waits for bide_wake_at() there, at most until `limit`, unless null, on that clock. `let_go` runs once a wake
// would find the caller; what it returns, unless 0, is the answer, and there is no wait. Returns 0, -ETIMEDOUT, -ECANCELED; of
// a fiber that doesn't unwind a cancel is kept for the next call, and what came before the wait doesn't end it. -EDEADLK: it has
// asked again though nothing is left that could wake it.
BIDE_API long bide_wait_at(const void* address, int (*let_go)(void*), void* argument, clockid_t, const timespec* limit,
                           const char* what) noexcept;
// Wakes at most `count` who wait there. Returns how many. Any thread.
BIDE_API long bide_wake_at(const void* address, long count) noexcept;
#endif

// A call on a fiber ended with ECANCELED or ETIMEDOUT: throws if that came from outside and the fiber unwinds.
BIDE_API void bide_ended(long answer);
// The same of one that has something to show: it throws nothing, and the fiber that unwinds does so at its next wait.
BIDE_API void bide_ended_short(long answer) noexcept;
// A wait that has no answer for it can never end: throws `cancelled`, whether the fiber unwinds or not.
[[noreturn]] BIDE_API void bide_lost();

// In a signal handler, on any thread: a handler ran, with or without SA_RESTART.
BIDE_API void bide_note_signal(bool restarts) noexcept;

#ifndef BIDE_PRELOAD
// Before handlers are set, not in one: bide_enter_handler() has to tell whose code was interrupted.
BIDE_API void bide_expect_handlers() noexcept;
// In a handler, with its third argument. A fiber that was interrupted within the runtime must not park: its waits, lists and
// the table of descriptors may be half changed. So the thread has no fiber then until bide_leave_handler(), and what the handler
// calls goes to the kernel as it is. Returns whether that is so.
BIDE_API bool bide_enter_handler(const void* machine) noexcept;
BIDE_API void bide_leave_handler() noexcept;
#endif

}  // extern "C"
