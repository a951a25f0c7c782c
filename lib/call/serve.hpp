// A call that came to a trap door, or in a preloaded program to any door, to its end.
#pragma once

#include <ucontext.h>

#ifdef BIDE_PRELOAD
#include "lib/sched/threads.hpp"
#else
#include "lib/sys/signal_action.hpp"
#endif

namespace bide::call {

struct request {
  long nr, a, b, c, d, e, f;
};

#ifdef BIDE_PRELOAD

// What a call answers that a signal ended and that is made again whatever the handlers' SA_RESTART says: the kernel's own
// ERESTARTNOINTR, which no program sees.
inline constexpr long restarted_always = -513;

// Makes the call for the running thread, through the table or to the kernel, with the signals that come meanwhile. Inside
// the runtime on both ends; not noexcept, because libc's cancellation unwinds out of a signal handler. `interrupted`: what
// a handler sees as interrupted, filled in by the door if one runs.
long serve(const request&, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*), const void* from);

// Leaves the runtime for the program: no signal is left that should have been delivered.
void leave(core::thread&, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*), const void* from);

// What a fault's handler is told natively: a stack's guard is memory without access, and to the kernel it is none at all
// (call/memory.cpp); and a trap that has no room for its frame is an overflow below the stack pointer.
siginfo_t as_natively(const siginfo_t&, const ucontext_t& interrupted, const core::thread&) noexcept;
// Whether it was such a trap.
bool comes_from_call(const ucontext_t& interrupted) noexcept;
// Whether that is in the guard of a stack that libc has mapped.
bool is_stack_guard(const void* address, const core::thread&) noexcept;
// The lowest byte that a thread may use of the stack that begins at `base`, or with a guard there; 0: not known.
std::uintptr_t lowest_of_stack(std::uintptr_t base) noexcept;

// What is done, on the program's only thread, just before it makes another.
void set_before_second_thread(void (*)(core::thread&) noexcept) noexcept;

#else

// Gives the call to the kernel as it is, but for SIGSYS: a trap while that is blocked kills.
long pass(const request&) noexcept;

// The same for what makes a process or a thread, which begins behind the instruction with these registers. vfork and its
// kin don't return. `on_fiber`: no other than the running fiber makes it, and no function of libc's.
bool makes_process(long nr) noexcept;
long make_process(const request&, const greg_t* registers, bool on_fiber) noexcept;

// SIGSYS is the trap door's from now on, and `before` is what the program has for it: its own calls change that alone.
void take_sigsys(const sys::signal_action& before) noexcept;
sys::signal_action action_for_sigsys() noexcept;
// As the program wants it.
void give_sigsys_back() noexcept;

// On the calling kernel thread: never blocked, and again as the program has asked.
void open_to_sigsys() noexcept;
void leave_sigsys() noexcept;

#endif

}  // namespace bide::call
