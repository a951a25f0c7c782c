// Signals of a preloaded program: actions, masks and pending signals as its threads have them, and the way from the
// kernel's handler to the thread that takes one.
//
// The kernel knows one handler, ours, and one mask on the kernel thread that carries worker 0: what every thread blocks.
// So a signal that some thread would take comes in, and one that none would take stays with the kernel, where signalfd(2)
// and an exec find it. Our handler only notes it (note_signal); it is given to a thread (route) and its handler is run
// (sched/handlers) where the thread would be back in the program anyway.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include "lib/sched/threads.hpp"

namespace bide::core {

using sys::signal_action;

inline constexpr int signals = 64;
inline constexpr signal_set never_blocked = signal_bit(SIGKILL) | signal_bit(SIGSTOP);
// What a kernel thread never blocks, whatever its threads do: a trap while SIGSYS is blocked kills.
inline constexpr signal_set unblockable = never_blocked | signal_bit(SIGSYS);
// Faults that may be ours to mend: a bad pointer given to a call, a thread pointer that slipped.
inline constexpr signal_set mended = signal_bit(SIGSEGV) | signal_bit(SIGBUS);

// The kernel signal by which a kernel thread that computes or waits is interrupted: libc's own SIGSETXID, which only a
// tgkill of libc's would send, and that never reaches the kernel.
inline constexpr int tick_signal = 33;
// What a kernel thread that gets none of the process's signals blocks: all but faults, traps and our own.
inline constexpr signal_set deaf = ~(unblockable | signal_bit(SIGSEGV) | signal_bit(SIGBUS) | signal_bit(SIGFPE) |
                                     signal_bit(SIGILL) | signal_bit(SIGTRAP) | signal_bit(tick_signal));

// Takes over what the process has: actions, and `main`'s mask. At the start.
void open_signals(thread& main, void (*handler)(int, siginfo_t*, void*)) noexcept;

// rt_sigaction(2), behind the copying.
long change_action(int number, const signal_action* wanted, signal_action* before) noexcept;
signal_action action_of(int number) noexcept;
inline bool is_handled(const signal_action& a) noexcept {
  return a.function != reinterpret_cast<void*>(SIG_DFL) && a.function != reinterpret_cast<void*>(SIG_IGN);
}

// A thread's mask; its own thread, or before it starts. set_mask() also has the kernel's follow.
void adopt_mask(thread&, signal_set) noexcept;
void set_mask(thread&, signal_set) noexcept;
void drop_mask(thread&) noexcept;
// A mask for the time of one call, and back. Signals that it lets through and that came before are pending then.
void borrow_mask(thread&, signal_set) noexcept;
void return_mask(thread&) noexcept;
// What every thread blocks.
signal_set process_mask() noexcept;
// On the kernel thread that carries worker 0: has the kernel follow; or has begun to carry it.
void apply_process_mask() noexcept;
void claim_process_mask() noexcept;
// The same by the return from a handler, with this mask, and nothing comes before.
signal_set return_to_process_mask() noexcept;

// In the kernel's handler, on any kernel thread.
void note_signal(const siginfo_t&) noexcept;
// Signals noted and not given to a thread.
signal_set noted() noexcept;
// Takes one of `set` that was noted. Returns its number or 0.
int take_noted(signal_set set, siginfo_t& info) noexcept;

// Gives the noted signals to threads that take them. Inside the runtime, on a worker.
void route_signals(worker_core&) noexcept;
// The same on a kernel thread that is closed to signals, and stays so.
void route_closed(worker_core&) noexcept;

// Sends to a thread, whose home is any worker. Inside the runtime; returns 0, -ESRCH or -ENOMEM.
long send_to_thread(std::uint32_t tid, const siginfo_t&) noexcept;

inline bool has_deliverable(const thread& t) noexcept {
  return (t.pending & ~t.mask.load(std::memory_order_relaxed)) != 0;
}
// Takes one of `set` that is pending for the thread. Returns its number or 0.
int take_pending(thread&, signal_set set, siginfo_t& info) noexcept;

void signals_after_fork(thread& me) noexcept;

}  // namespace bide::core
