// The one way to wait. Every wait is: make a waiter, enlist it where the wakers look, park, take it off where it is
// still enlisted.
//
// A wait ends once. Whoever moves the waiter's word from undecided has decided how, and wakes; the rest find it decided
// and leave. A waker of the same worker makes the fiber ready itself; any other thread posts the fiber's mail to its
// home, and the fiber then stays parked until that is delivered, so its record is never in two lists.
#pragma once

#include <bide/wait.hpp>

#include <atomic>
#include <cstdint>

#include "lib/fiber/worker_core.hpp"

namespace bide::core {

struct waiter {
  // Who may decide: only the fiber's home worker (descriptors), or any thread as well (locks).
  enum class reach : std::uint8_t { home, anyone };

  explicit waiter(reach r) noexcept : who(this_fiber()), from(who ? r : reach::anyone) {}
  waiter(const waiter&) = delete;

  static constexpr std::uint32_t undecided = 0, posted = 0x100;
  static constexpr std::uint32_t decided(wait_result r) noexcept { return static_cast<std::uint32_t>(r) + 1; }

  bool is_decided() const noexcept { return word.load(std::memory_order_acquire) != undecided; }
  wait_result result() const noexcept {
    return static_cast<wait_result>((word.load(std::memory_order_acquire) & 0xff) - 1);
  }

  std::atomic<std::uint32_t> word{undecided};  // any thread; also the futex that a plain thread waits on
  fiber* const who;                            // null: a plain thread
  const reach from;
};

// What ends a wait from outside. if_stuck: only that every fiber is parked and nothing is left that could wake one.
// if_late: a scope's deadline as well. yes: a cancel as well. if_new: as yes, but not what came before the wait.
enum class cancel_point : std::uint8_t { no, if_stuck, if_late, yes, if_new };

// Ends a wait if nothing has ended it yet. Returns whether this call did. Any thread that the waiter's reach allows;
// the waiter may be gone when this returns.
bool wake(waiter&, wait_result) noexcept;

// Waits until somebody has decided, at most until the monotonic `until`.
//
// On a fiber, parks it; on a plain thread, blocks it. A cancel that came before ends it at once, if it is a cancel point,
// and so does a scope around it whose time has come.
wait_result park(waiter&, wait_reason, std::int64_t until, cancel_point) noexcept;

// Whether a wait of the running fiber that begins now, and may be cancelled, would be ended from outside at once.
bool ends_at_once(const fiber&) noexcept;

// Makes the fiber ready again behind the others that are, and lets those run.
void yield(worker_core&, fiber&) noexcept;

// Lets others run if the fiber has had its slice: for calls that find nothing to wait for, again and again.
inline void give_way() noexcept {
  worker_core* w = this_worker();
  if (!w || w->current == &w->loop || --w->until_check != 0 || !turn_is_due(*w)) [[likely]] return;
#ifdef BIDE_PRELOAD
  // The turn is over, but it has hardly begun its own: among ten thousand it would get nowhere, a call at a time.
  if (!w->chance && base::ticks() - w->switched_at < own_slice) return;
#endif
  fiber& me = *w->current;
  make_ready(*w, me);
  switch_to(*w, me, w->loop);
}

// On the home worker: ends the wait the fiber is in as cancelled, or remembers it for the next.
void cancel(fiber&) noexcept;

// Runs `work` on another worker, between its fibers, and waits until it has: parks, and is no cancel point. Does
// nothing when that worker has ended.
void run_at(worker_core&, void (*work)(worker_core&, void*) noexcept, void* argument) noexcept;

#ifndef BIDE_PRELOAD
// Of a stepped runtime, whose thread may not step for long, or wait for the caller: delivers what is in the worker's inbox
// on the calling thread, unless it is in a step, which ends with this. Any thread.
void attend(worker_core&) noexcept;
// Whether that fiber goes on only when the calling thread, outside it, makes the next step.
bool waits_for_own_steps(const fiber&) noexcept;
#endif

// Waits for a fiber to be done.
struct join_node {
  waiter& wait;
  join_node* next = nullptr;
};
wait_result join(fiber&, std::int64_t until) noexcept;

// Makes a fiber on a stack of that size, not started. Returns null when there is no stack. On a worker.
fiber* make_fiber(worker_core&, std::size_t stack_size) noexcept;
// The same on any thread.
fiber* make_fiber_apart(std::size_t stack_size) noexcept;
// Starts it on `home`, which may be another worker. `top` is where its frames may begin.
void start(fiber&, worker_core& home, char* top) noexcept;
#ifdef BIDE_PRELOAD
// The same on the caller's worker, and at once: the caller goes on behind those that are ready. A thread that is made
// for a request so has done it before many more are made: few are alive at a time, and libc gives the next its stack.
void start_and_run(fiber&, worker_core& home, char* top) noexcept;
#endif

// A context that runs already becomes a fiber of that worker, and its running one.
void adopt_running(worker_core&, fiber&) noexcept;

// Ends the running fiber, for one that has no frame to return to. `after_leaving` runs when its stack is left.
[[noreturn]] void end_here(fiber&) noexcept;

// Puts a cancel back that the last wait has consumed, if it has, for the next: its call had a result all the same. On the
// fiber itself.
void keep_cancel(fiber&) noexcept;

// A scope begins or ends around what the running fiber does.
void enter(fiber&, detail::scope&) noexcept;
void leave(fiber&, detail::scope&) noexcept;
// On the fiber's home: a scope of its ends every wait in it from now on.
void end_scope(fiber&, detail::scope&) noexcept;

// Nothing from outside ends the waits of the running fiber meanwhile. Does nothing on a plain thread.
class shield {
 public:
  shield() noexcept : who_(this_fiber()) {
    if (who_) enter(*who_, scope_);
  }
  ~shield() {
    if (who_) leave(*who_, scope_);
  }
  shield(const shield&) = delete;

 private:
  fiber* const who_;
  detail::scope scope_{0, wait_result::ready, nullptr};
};

// Waits until every request that others made of the running fiber is carried out: one who asked without holding its
// handle must not find the record gone.
void settle_requests() noexcept;

// Asks a fiber's home for what only it may do; any thread. `request_release` is the handle's last word.
void request(fiber&, std::uint32_t which) noexcept;

}  // namespace bide::core
