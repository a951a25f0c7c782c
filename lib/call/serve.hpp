// A call of a preloaded program, from any of its doors, to its end: through the table or to the kernel, with the signals
// that come meanwhile.
#pragma once

#include <ucontext.h>

#include "lib/sched/threads.hpp"

namespace bide::call {

// What a call answers that a signal ended and that is made again whatever the handlers' SA_RESTART says: the kernel's own
// ERESTARTNOINTR, which no program sees.
inline constexpr long restarted_always = -513;

// Makes the call for the running thread. Inside the runtime on both ends; not noexcept, because libc's cancellation
// unwinds out of a signal handler. `interrupted`: what a handler sees as interrupted, filled in by the door if one runs.
struct request {
  long nr, a, b, c, d, e, f;
};
long serve(const request&, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*), const void* from);

// Leaves the runtime for the program: no signal is left that should have been delivered.
void leave(core::thread&, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*), const void* from);

// What is done, on the program's only thread, just before it makes another.
void set_before_second_thread(void (*)(core::thread&) noexcept) noexcept;

}  // namespace bide::call
