#include "lib/sched/worker.hpp"

#include <algorithm>

#include "lib/base/clock.hpp"
#include "lib/base/race.hpp"
#include "lib/fiber/bell.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/runtime.hpp"
#ifdef BIDE_PRELOAD
#include "lib/sched/carrier.hpp"
#include "lib/sched/credentials.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/monitor.hpp"
#else
#include "lib/sched/trapping.hpp"
#endif
#include "lib/sched/signals.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {

int worker::open(core::runtime& rt) noexcept {
  runtime = &rt;
  reactor = &io;
  closing = false;
  stuck = 0;
  ready.clear();
  all.clear();
  live = incoming = 0;
  warm_count = 0;
  signalled = 0;
  chance = 0;
  hopeless = false;
  if (!timers.open()) return -ENOMEM;
  if (const int error = io.open(*this, rt.stepped)) {
    timers.close();
    return error;
  }
  bell = io.bell();
  in.open();
  return 0;
}

void worker::shut() noexcept {
#ifndef BIDE_PRELOAD
  take_turn();
  in.close();
  stepper.store(nullptr, std::memory_order_relaxed);
  turn.store(0, std::memory_order_seq_cst);
#else
  in.close();
#endif
  give_warm(*this);
  if (context::tools::present) context::tools::thread_gone(loop.tool);
  // It is awake, so whoever comes to ring from now on finds nothing to do: rest() has stored that before.
  until_nobody_rings();
  io.close();
  timers.close();
}

// The calling thread is this worker's from now on.
void worker::begin_here() noexcept {
  become_worker(this);
#ifndef BIDE_PRELOAD
  thread.find();
#endif
  context::tools::context_is_thread(loop.tool);
  loop.home = this;
  loop.state = fiber_state::ready;
  current = &loop;
#ifndef BIDE_PRELOAD
  if (runtime->traps) arm_trap_door();
#endif
}

// And no longer.
void worker::leave_here() noexcept {
#ifndef BIDE_PRELOAD
  if (runtime->traps) disarm_trap_door();
#endif
  become_worker(nullptr);
}

#ifndef BIDE_PRELOAD
// Others have it for the moments of attend().
void worker::take_turn() noexcept {
  while (turn.exchange(1, std::memory_order_seq_cst) != 0) sys::raw(SYS_sched_yield);
}

std::int64_t worker::step(std::int64_t until) noexcept {
  take_turn();
  begin_here();
  stepper.store(&bide_this_worker, std::memory_order_relaxed);
  asleep.store(false, std::memory_order_seq_cst);
  do {
    look_around();
    if (!ready.empty()) {
      turn_began = checked_at = base::ticks();
      until_check = check_every;
      switch_to(*this, loop, ready.take());
    }
    io.poll();
  } while ((!ready.empty() || !in.empty() || timers.next() <= base::now()) && base::now() < until);
  // seq_cst, both, as in rest(): whoever posts from now on rings, and so makes the descriptor ready.
  asleep.store(true, std::memory_order_seq_cst);
  if (!ready.empty() || !in.empty()) ring(*this);
  io.set_outer_timer(timers.next());
  const std::int64_t again = ready.empty() ? timers.next() : 0;
  leave_here();
  turn.store(0, std::memory_order_seq_cst);
  attend(*this);
  return again;
}

void worker::begin_closing_stepped() noexcept {
  take_turn();
  begin_here();
  runtime->closing.store(true, std::memory_order_seq_cst);
  closing = true;
  cancel_all();
  leave_here();
  turn.store(0, std::memory_order_seq_cst);
}
#endif

// A turn: what others sent, what time it is, the fibers that are ready, then the loop.
void worker::run() noexcept {
  begin_here();
  while (look_around()) {
    if (ready.empty()) {
      if (!chance || !rest_in_shown_time()) rest();
      continue;
    }
    if (chance) [[unlikely]] {
      until_check = 1;
      switch_to(*this, loop, take_by_chance());
      await_offload();
      continue;
    }
    turn_began = checked_at = base::ticks();
    until_check = check_every;
    switch_to(*this, loop, ready.take());
    // Back because nobody is ready, or because the slice is over and others may have become so.
    if (ready.empty() || !io.anyone_waits()) continue;
    const std::uint64_t began = base::ticks();
    io.poll();
    // What is ready and has not had its turn is told again at each look: with ten thousand of them looks are dear, and
    // are to be a sixteenth of the time at most.
    slice = std::max(shortest_slice, (base::ticks() - began) * 16);
  }
  leave_here();
}

bool worker::look_around() noexcept {
#ifdef BIDE_PRELOAD
  auto& here = *static_cast<core::carrier*>(carrier);
  if (here.credentials != credential_changes.load(std::memory_order_relaxed)) [[unlikely]] adopt_credentials(here);
#endif
  in.deliver_all();
  if (signalled.load(std::memory_order_relaxed)) [[unlikely]] {
#ifdef BIDE_PRELOAD
    route_signals(*this);
#else
    deliver_signals(*this);
#endif
  }
  if (!timers.empty()) {
    const std::int64_t now = base::now();
    while (timer* t = timers.pop(now)) wake(*t->who, wait_result::expired);
  }
  return !runtime->stopping.load(std::memory_order_acquire);
}

void worker::rest() noexcept {
  base::race_point();
  // seq_cst, both: a poster that doesn't see us asleep has posted before we look.
  asleep.store(true, std::memory_order_seq_cst);
  base::race_point();
  if ((in.empty() && !signalled.load(std::memory_order_seq_cst)) || !base::kept(base::protection::second_look)) {
    if (!timers.empty() || io.anyone_waits()) {
      io.sleep(timers.next());
    } else {
      rest_without_hope();
    }
  }
  asleep.store(false, std::memory_order_seq_cst);
#ifdef BIDE_PRELOAD
  wake_monitor();
#endif
}

// Only another thread can wake anybody here: unless there is none who would.
void worker::rest_without_hope() noexcept {
  if (runtime->for_ever) return io.sleep(base::never);
  hopeless.store(true, std::memory_order_seq_cst);
  if (!runtime->ended()) {
    const std::int64_t until = base::after(base::kernel_now(), runtime->patience());
    io.sleep(until);
    if (until != base::never && base::kernel_now() >= until && in.empty()) runtime->judge();
  }
  hopeless.store(false, std::memory_order_seq_cst);
  wakes.fetch_add(1, std::memory_order_seq_cst);
}

void worker::cancel_all() noexcept {
  // A cancelled fiber only becomes ready here, so the list doesn't change under us.
  for (fiber& f : all) {
    if (f.on_cancel) f.on_cancel(f);
    cancel(f);
  }
}

}  // namespace bide::core
