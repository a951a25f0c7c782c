// The part of a worker that fibers stand on: who runs, who is ready, who may be reached, and the switch itself.
//
// Everything is the worker's own but the inbox, the bell and what is marked "any thread".
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/base/clock.hpp"
#include "lib/base/race.hpp"
#include "lib/base/published.hpp"
#include "lib/context/thread_pointer.hpp"
#include "lib/fiber/fiber.hpp"
#include "lib/fiber/inbox.hpp"
#include "lib/fiber/timer_heap.hpp"

namespace bide::io {
class reactor;
}

namespace bide::core {

struct runtime;

inline constexpr unsigned most_workers = 64;  // in the process: a bit each in fd_facts::watched_by

// A quarter of a millisecond at 4 GHz, one at 1 GHz.
inline constexpr std::uint64_t shortest_slice = 1'000'000;
// What a fiber that waits for nothing has in any case.
inline constexpr std::uint64_t own_slice = shortest_slice / 4;

struct worker_core {
  // The switch.
  base::published<fiber*> current = nullptr;
  run_queue ready;
  std::uint32_t until_check = 64;  // switches before the next look at the time
  std::uint32_t check_every = 64;
  std::uint64_t checked_at = 0;    // base::ticks
  std::uint64_t turn_began = 0;    // base::ticks
  std::uint64_t slice = shortest_slice;  // ticks that fibers run before the loop looks for events
  std::uint64_t chance = 0;  // of a seeded runtime: what its dice show, never 0
  context::thread_state_place thread;
  fiber loop;  // the worker's own context: it delivers, polls and sleeps
  std::atomic<std::uint32_t> signalled{0};  // a signal is noted that the worker is to look at; any thread, and handlers
  // Of preloaded programs.
  void* carrier = nullptr;       // core::carrier: the kernel thread that carries it; the monitor reads
  std::uintptr_t bare_thread_pointer = 0;
  std::atomic<void*> in_kernel{nullptr};  // core::carrier that waits in a call of the running thread's; who clears it has the worker
  std::atomic<std::uint32_t> kernel_calls{0};  // the worker counts; the monitor reads
  bool uses_ring = false;
  std::uint64_t switched_at = 0;  // base::ticks
  std::atomic<std::uint32_t> switches{0};  // the worker counts; the monitor reads

  // Waiting.
  timer_heap timers;
  io::reactor* reactor = nullptr;
  inbox in;
  std::atomic<bool> asleep{false};  // any thread; the one that clears it rings
  int bell = -1;                    // eventfd; any thread may write

  // Its fibers.
  fiber_list all;                          // from start to end, in order of their start
  std::atomic<std::uint32_t> live{0};      // written by the worker; any thread may read, to place fibers
  std::atomic<std::uint32_t> incoming{0};  // any thread: started here from elsewhere, not delivered yet
  std::uint64_t next_id = 0, last_id = 0;  // a block of numbers taken from the process
  fiber* warm[32] = {};                    // ended fibers' stacks by size (its power of two), newest first
  std::uint32_t warm_count = 0;

  core::runtime* runtime = nullptr;
  unsigned index = 0;            // in the process, below most_workers
  std::atomic<const void*> stepper{nullptr};  // of a stepped runtime: its thread, by bide_this_worker's address; see attend()
  std::atomic<std::uint32_t> turn{0};         // of a stepped runtime: 1 while somebody runs the worker, in a step or an errand
  bool closing = false;          // every wait that can be cancelled is
  unsigned stuck = 0;            // even those for a lock: how often nothing was left that could wake a fiber
  std::atomic<std::uint32_t>* watched = nullptr;  // held while another thread reads `current`'s record: it stays meanwhile
  bool scrub = false;            // a stack never goes from one fiber to the next with its contents
  unsigned long mask_before = 0;  // the thread's signal mask, while waits with masks of their own last
  unsigned masked_waits = 0;
  std::atomic<std::uint32_t> handlers{0};  // signal handlers that ran on this thread; handlers write
};

// The worker that the calling thread runs, or null on any other thread. The one function that knows; the symbol door
// reads the same variable.
#ifdef BIDE_PRELOAD
// Fibers own their TLS there, so it is found by GS: every kernel thread has its own from the moment the doors open.
inline worker_core* this_worker() noexcept {
  if (!context::doors_open) [[unlikely]] return nullptr;
  return static_cast<worker_core*>(context::this_block_worker());
}
// Every kernel thread is ours.
inline void become_worker(worker_core* w) noexcept {
  if (w) context::this_block().worker = w;
}
#else
// __thread, not thread_local: no initialisation that each use would have to check.
extern "C" __attribute__((visibility("default"), tls_model("initial-exec"))) __thread worker_core* bide_this_worker;
inline worker_core* this_worker() noexcept { return bide_this_worker; }
inline void become_worker(worker_core* w) noexcept { bide_this_worker = w; }
#endif

// The running fiber; null on a plain thread and in a worker's own context.
inline fiber* this_fiber() noexcept {
  worker_core* w = this_worker();
  return w && w->current != &w->loop ? w->current.get() : nullptr;
}

// Rings the bell if the worker sleeps. Any thread, also in a signal handler.
void ring(worker_core&) noexcept;

// Posts and rings. Returns false when the worker has ended.
inline bool post(worker_core& w, message& m) noexcept {
  if (!w.in.post(m)) return false;
  base::race_point();
  if (w.asleep.load(std::memory_order_seq_cst)) ring(w);
  return true;
}

// Makes a fiber of this worker ready.
inline void make_ready(worker_core& w, fiber& f) noexcept {
  f.state = fiber_state::ready;
  w.ready.push_back(f);
}

// Takes back the stack of a finished fiber nobody holds a handle to. On the home worker, or after it has ended.
void recycle(fiber&) noexcept;

// Returns to the kernel the pages of the stacks that the worker keeps, and of those that workers have passed on.
void give_warm(worker_core&) noexcept;

// After fork in the child.
void forget_surplus() noexcept;

// Has the worker's loop context anything to do that can't wait any longer?
bool turn_is_due(worker_core&) noexcept;

// Part of whoever leaves: a function of its own, counted by TSan, would begin on one fiber and end on another.
#define BIDE_IN_CALLER __attribute__((always_inline))

// On arrival in `me`: completes the switch that brought us here.
BIDE_IN_CALLER inline void arrive(fiber& me, context::arrival a) noexcept {
  fiber& from = *static_cast<fiber*>(a.data);
  from.ctx = a.fctx;
  if (context::tools::present) [[unlikely]] context::tools::after_switch(me.tool, from.tool);
#ifndef BIDE_PRELOAD
  me.home->thread.load(me.thread);
#endif
  if (from.after_leaving) [[unlikely]] {
    const auto action = from.after_leaving;
    from.after_leaving = nullptr;
    return action(from);
  }
  if (from.state == fiber_state::finished) [[unlikely]] {
    if (from.released) recycle(from);
  }
}

// What a switch from `me` to `next` is preceded by.
BIDE_IN_CALLER inline void before_leaving(worker_core& w, fiber& me, fiber& next) noexcept {
#ifdef BIDE_PRELOAD
  // errno, the exception state and all else of a thread lie where its thread pointer points.
  const std::uint64_t now = base::ticks();
  me.ticks += now - w.switched_at;
  w.switched_at = now;
  w.switches.store(w.switches.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  // The worker's own context has none and makes do with any, but for that of a thread whose stack may go now.
  if (next.thread_pointer) {
    context::set_thread_pointer(next.thread_pointer);
  } else if (me.state == fiber_state::finished) {
    context::set_thread_pointer(w.bare_thread_pointer);
  }
#else
  w.thread.save(me.thread);
#endif
  w.current = &next;
  if (context::tools::present) [[unlikely]] {
    using context::tools::leaving;
    context::tools::before_switch(me.tool, next.tool,
                                  me.state == fiber_state::finished ? leaving::for_ever : leaving::for_now);
  }
}

BIDE_IN_CALLER inline void switch_to(worker_core& w, fiber& me, fiber& next) noexcept {
  before_leaving(w, me, next);
  arrive(me, context::jump(next.ctx, &me));
}

// Takes the next ready fiber, or the loop context when there is none or that has waited long enough.
inline fiber& next_to_run(worker_core& w) noexcept {
  if (w.ready.empty() || (--w.until_check == 0 && turn_is_due(w))) [[unlikely]] return w.loop;
  return w.ready.take();
}

// Leaves the worker to another context until somebody makes the fiber ready.
inline void leave(worker_core& w, fiber& me) noexcept { switch_to(w, me, next_to_run(w)); }

}  // namespace bide::core
