// Kernel threads for what no loop can wait on. Any thread.
//
// The pool is the process's: it grows with demand up to a limit, a thread that had nothing to do for a second ends, and
// all of them end with the last runtime. What waits until another fiber has gone on has a thread beyond the limit: the other
// may need one as well.
#pragma once

#include "lib/fiber/park.hpp"
#include "lib/sys/thread.hpp"

namespace bide::io {

enum class offload_limit : unsigned char { counts, beyond };

// How a call is ended on its thread. signal: by one, which has the kernel say EINTR. cancel: by pthread_cancel(3), which
// unwinds what libc does there; its thread ends with it.
enum class offload_stop : unsigned char { signal, cancel };

struct offload_job {
  offload_job* next = nullptr;
  offload_limit limit = offload_limit::counts;
  void (*work)(void*) = nullptr;
  void* argument = nullptr;
  core::waiter* who = nullptr;  // guarded by the pool's lock: woken as ready at its end; null: nobody
  bool over = false;            // guarded by the pool's lock
  bool spent = false;           // guarded by the pool's lock: its thread was cancelled, and ends with it
  bool left = false;            // guarded by the pool's lock: nobody waits for it any more
  bool stray = false;           // guarded by the pool's lock: nor does any runtime
  long thread = 0;              // guarded by the pool's lock: the kernel thread that has it; 0: none yet
  sys::thread_handle handle{};  // of that thread
  void (*drop)(void*) = nullptr;  // what becomes of the argument of one that was left
};

// A call that waits on a pool thread, and may be ended there.
struct offload_call : offload_job {
  long (*make)(void*) = nullptr;  // returns -EINTR if it was ended by a signal; that is the answer of a cancelled one, too
  void* of = nullptr;
  offload_stop stop = offload_stop::signal;
  bool by_handlers = true;  // a signal handler that runs on the fiber ends the wait, too
  core::cancel_point point = core::cancel_point::yes;
  long answer = 0;
  bool interrupted = false;  // guarded by the pool's lock: something from outside has had it end
};

// Runs `work` on a pool thread and waits for its end; parks, and is no cancel point: `work` may use the caller's stack.
// Returns 0, or -EAGAIN when no thread can be had. On a plain thread, runs it there.
int offload(void (*work)(void*), void* argument, const char* what, offload_limit limit = offload_limit::counts) noexcept;

// Runs `work` on a pool thread, and waits for its end or for what ends a wait from outside. Then, if it has begun, it is
// left to itself: it owns all it touches, and `drop` follows it there. Returns 0: it is over, and `argument` is the caller's
// again. -ECANCELED, -ETIMEDOUT, -EAGAIN (no thread): `argument` has been or will be dropped. On a plain thread, runs it there.
//
// One beyond the limit begins in any case. One that was left still counts. The last runtime doesn't wait for it, and those that come later don't count it.
int offload_apart(void (*work)(void*), void (*drop)(void*), void* argument, const char* what,
                  offload_limit limit = offload_limit::counts) noexcept;

// Begins a call, for a fiber; `w`, which anyone may wake, is woken as ready at its end. Returns 0, or -EAGAIN when no
// thread can be had. What `call` and `w` are part of stays until offload_over() says so or offload_end() returns.
int offload_begin(offload_call& call, core::waiter& w) noexcept;
bool offload_over(const offload_call& call) noexcept;
// Has it end now, with -EINTR if it has not come to anything else: tries to, or until it has, which parks.
void offload_interrupt(offload_call& call) noexcept;
void offload_end(offload_call& call) noexcept;

// A runtime begins, with at most so many threads for what counts, or ends. The last end waits for the threads.
void offload_open(unsigned most) noexcept;
void offload_close() noexcept;

// The child of a fork has no thread but its own.
void offload_after_fork() noexcept;

// Jobs queued or running now that somebody waits for.
unsigned offload_busy() noexcept;

// Jobs queued since ever, as far as 32 bits count.
std::uint32_t offloads_begun() noexcept;

// Threads there are now, with those that nobody waits for.
unsigned offload_threads() noexcept;

}  // namespace bide::io
