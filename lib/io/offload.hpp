// Kernel threads for what no loop can wait on. Any thread.
//
// The pool is the process's: it grows with demand up to a limit, a thread that had nothing to do for a second ends, and
// all of them end with the last runtime.
#pragma once

#include "lib/fiber/park.hpp"

namespace bide::io {

struct offload_job {
  offload_job* next = nullptr;
  void (*work)(void*) = nullptr;
  void* argument = nullptr;
  core::waiter done{core::waiter::reach::anyone};
};

// Runs `work` on a pool thread and waits for its end; parks, and is no cancel point: `work` may use the caller's stack.
// Returns 0, or -EAGAIN when no thread can be had. On a plain thread, runs it there.
int offload(void (*work)(void*), void* argument, const char* what) noexcept;

// A runtime begins, with at most so many threads, or ends. The last end waits for the threads.
void offload_open(unsigned most) noexcept;
void offload_close() noexcept;

// The child of a fork has no thread but its own.
void offload_after_fork() noexcept;

// Jobs queued or running now.
unsigned offload_busy() noexcept;

// Threads there are now.
unsigned offload_threads() noexcept;

}  // namespace bide::io
