// Kernel threads for what no loop can wait on. Any thread.
//
// The pool is the process's: it grows with demand up to a limit, a thread that had nothing to do for a second ends, and
// all of them end with the last runtime. What waits until another fiber has gone on has a thread beyond the limit: the other
// may need one as well.
#pragma once

#include "lib/fiber/park.hpp"

namespace bide::io {

enum class offload_limit : unsigned char { counts, beyond };

struct offload_job {
  offload_job* next = nullptr;
  offload_limit limit = offload_limit::counts;
  void (*work)(void*) = nullptr;
  void* argument = nullptr;
  core::waiter* who = nullptr;  // guarded by the pool's lock: woken as ready at its end; null: nobody
  bool over = false;            // guarded by the pool's lock
  long thread = 0;              // guarded by the pool's lock: the kernel thread that has it; 0: none yet
};

// A kernel call that waits on a pool thread, and may be ended there: by a signal to that thread, which alone has it
// unblocked, for as long as the call lasts.
struct offload_call : offload_job {
  long nr = 0, arguments[6] = {}, answer = 0;
};

// Runs `work` on a pool thread and waits for its end; parks, and is no cancel point: `work` may use the caller's stack.
// Returns 0, or -EAGAIN when no thread can be had. On a plain thread, runs it there.
int offload(void (*work)(void*), void* argument, const char* what, offload_limit limit = offload_limit::counts) noexcept;

// Begins a call, for a fiber; `w`, which anyone may wake, is woken as ready at its end. Returns 0, or -EAGAIN when no
// thread can be had. What `call` and `w` are part of stays until offload_over() says so or offload_end() returns.
int offload_begin(offload_call& call, core::waiter& w) noexcept;
bool offload_over(const offload_call& call) noexcept;
// Has it end now, with -EINTR if it has not come to anything else: once, or until it has, which parks.
void offload_interrupt(offload_call& call) noexcept;
void offload_end(offload_call& call) noexcept;

// A runtime begins, with at most so many threads for what counts, or ends. The last end waits for the threads.
void offload_open(unsigned most) noexcept;
void offload_close() noexcept;

// The child of a fork has no thread but its own.
void offload_after_fork() noexcept;

// Jobs queued or running now.
unsigned offload_busy() noexcept;

// Jobs queued since ever, as far as 32 bits count.
std::uint32_t offloads_begun() noexcept;

// Threads there are now.
unsigned offload_threads() noexcept;

}  // namespace bide::io
