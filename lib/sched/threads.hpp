// The program's threads, in a preloaded program: each is a fiber with a thread's identity.
//
// A thread's record belongs to its home worker, as a fiber's does; the registry of ids may be asked by any.
#pragma once

#include <signal.h>
#include <sys/ucontext.h>

#include <cstdint>

#include "lib/fiber/fiber.hpp"
#include "lib/sys/signal_action.hpp"

struct robust_list_head;

namespace bide::core {

using signal_set = std::uint64_t;  // bit n - 1: signal n, as the kernel has it
using sys::signal_bit;

struct carrier;
struct spare_stack;
struct standing;

// A signal on its way to a thread, or to the process.
struct pending_signal {
  pending_signal* next;
  siginfo_t info;
};

struct thread : fiber {
  std::uint32_t* clear_tid = nullptr;      // set to 0, and woken, once its stack is left: CLONE_CHILD_CLEARTID
  bool ended = false;                      // guarded by the registry's lock
  robust_list_head* robust = nullptr;
  greg_t* registers = nullptr;             // of the trap it is in; null behind a symbol
  std::uintptr_t stack_low = 0;            // the lowest byte of its stack, above the guard, as its maker said; 0: not known

  // Signals; home only, but for the mask, which others read to find a taker.
  std::atomic<signal_set> mask{0};
  signal_set mask_before = 0;              // sigsuspend and kin: what to go back to once the handlers have run
  bool mask_is_borrowed = false;
  signal_set awaited = 0;                  // sigtimedwait: a signal of these ends the wait, blocked or not
  signal_set pending = 0;
  pending_signal* pending_first = nullptr;
  bool restartable = false;                // the call that was interrupted goes on if the handlers' SA_RESTART says so
  unsigned handlers = 0;                   // that it is in; too many once one was left by longjmp(3)
  stack_t alternate{nullptr, SS_DISABLE, 0};  // sigaltstack(2)
  void* shelter = nullptr;                 // where it waits while it is preempted: door/interrupt.cpp
  spare_stack* spare_stacks = nullptr;     // its own from the first that it needs

  // A stack that libc has just mapped without access and is about to open but for its guard: lib/call/memory.cpp.
  std::uintptr_t opening = 0;
  std::size_t opening_bytes = 0, opening_guard = 0;  // of it, what has a guard already

  carrier* held_by = nullptr;              // the kernel thread it waits on in the kernel, which lost its worker to another
  char comm[16] = {};                      // prctl(2), PR_SET_NAME
  const standing* stands = nullptr;        // guarded by the registry's lock; null: as the kernel thread. sched/standing.hpp
  unsigned long timer_slack = 0;           // PR_SET_TIMERSLACK; 0: the kernel thread's
  int death_signal = 0;                    // PR_SET_PDEATHSIG
};

// Ids lie above the kernel's largest pid (2^22), and in 28 bits, as a thread's CPU clock has them (clock_getres(2)). Each
// process begins elsewhere: locks that processes share tell their owners apart by them.
inline constexpr std::uint32_t first_thread_id = 0x08000000;
inline bool is_thread_id(long id) noexcept { return id >= first_thread_id && id < 0x10000000; }

inline thread* this_thread() noexcept;

// Makes a record with an id of its own; null when there is no memory or no id.
thread* make_thread() noexcept;
// The thread that was there first: its id is the process's.
thread* make_main_thread() noexcept;
// It runs for the last time: nobody finds it any more but who joins it, and its id isn't given again yet.
void end_thread(thread&) noexcept;
void free_thread(thread&) noexcept;

// Threads that have not ended.
std::uint32_t live_threads() noexcept;
// Whether there has ever been a second one.
bool had_others() noexcept;

// Runs `visit` for the thread with that id while the registry is locked, so that it can't end. Returns whether there is
// one. `visit` must not park.
bool with_thread(std::uint32_t tid, void (*visit)(thread&, void*), void* argument) noexcept;
// Whether that thread, though it may be about to end, will set this word to 0.
bool will_clear(std::uint32_t tid, const std::uint32_t* word) noexcept;
// For each, until `visit` returns true. Returns whether one did.
bool any_thread(bool (*visit)(thread&, void*), void* argument) noexcept;

// The child of a fork: only `me` is left, and is its main thread.
void threads_after_fork(thread& me) noexcept;

thread* main_thread() noexcept;  // null once it has ended

}  // namespace bide::core

#include "lib/fiber/worker_core.hpp"

namespace bide::core {
inline thread* this_thread() noexcept { return static_cast<thread*>(this_fiber()); }
}
