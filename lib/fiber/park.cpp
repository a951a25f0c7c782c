#include "lib/fiber/park.hpp"

#include <errno.h>

#include "lib/base/alone.hpp"
#include "lib/base/assert.hpp"
#include "lib/base/race.hpp"
#include "lib/fiber/bell.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {

#ifndef BIDE_PRELOAD
__thread worker_core* bide_this_worker = nullptr;
#endif

namespace {

std::atomic<std::uint32_t> ringers{0};  // of all workers: those who are about to write to a bell

}  // namespace

void ring(worker_core& w) noexcept {
  // Counted first: a worker that ends keeps its bell until nobody who may have found it asleep is about to ring.
  ringers.fetch_add(1, std::memory_order_seq_cst);
  if (w.asleep.exchange(false, std::memory_order_seq_cst)) {
    const std::uint64_t one = 1;
    sys::raw(SYS_write, w.bell, &one, sizeof one);
  }
  ringers.fetch_sub(1, std::memory_order_release);
}

void until_nobody_rings() noexcept {
  while (ringers.load(std::memory_order_seq_cst) != 0) __builtin_ia32_pause();
}

bool wake(waiter& w, wait_result result) noexcept {
  fiber* f = w.who;  // read first: a plain thread's waiter may be gone once decided
  if (!f) {
    if (!base::replace(w.word, waiter::undecided, waiter::decided(result))) return false;
    sys::futex_wake(w.word, 1);
    return true;
  }
  worker_core& home = *f->home;
  if (&home != this_worker()) {
    BIDE_ASSERT(w.from == waiter::reach::anyone, "a wait that only its worker may end was ended by another thread");
    if (!base::replace(w.word, waiter::undecided, waiter::decided(result) | waiter::posted)) return false;
    f->mail.about = f;
    f->mail.deliver = [](message& m) noexcept {
      fiber& woken = *static_cast<fiber*>(m.about);
      make_ready(*woken.home, woken);
    };
    BIDE_ASSERT(post(home, f->mail), "a fiber outlived its worker");
    return true;
  }
  if (w.from == waiter::reach::home) {
    if (w.word.load(std::memory_order_relaxed) != waiter::undecided) return false;
    w.word.store(waiter::decided(result), std::memory_order_relaxed);
  } else if (!base::replace(w.word, waiter::undecided, waiter::decided(result))) {
    return false;
  }
  // Not parked: it is the running fiber itself, which will see the word before it parks.
  if (f->state == fiber_state::parked) make_ready(home, *f);
  return true;
}

namespace {

bool a_cancel_ends(cancel_point p) noexcept { return p == cancel_point::yes || p == cancel_point::if_new; }

wait_result block_thread(waiter& w, std::int64_t until) noexcept {
  while (!w.is_decided()) {
    if (sys::futex_wait(w.word, waiter::undecided, base::kernel_time(until)) == -ETIMEDOUT)
      base::replace(w.word, waiter::undecided, waiter::decided(wait_result::expired));
  }
  return w.result();
}

// What the scopes around a wait allow it.
struct bounds {
  std::int64_t until;
  cancel_point point;
  const detail::scope* by = nullptr;  // the scope that `until` is from
};

bounds within_scopes(const fiber& f, std::int64_t until, cancel_point point) noexcept {
  bounds b{until, point};
  for (const detail::scope* s = f.scope; s; s = s->outer) {
    if (s->how == wait_result::ready) {
      if (b.point != cancel_point::no) b.point = cancel_point::if_stuck;
      break;
    }
    const bool reaches = a_cancel_ends(point) || (point == cancel_point::if_late && s->how == wait_result::timed_out);
    if (!reaches || s->until >= b.until) continue;
    if (point == cancel_point::if_new && s->until <= base::now()) continue;
    b.until = s->until;
    b.by = s;
  }
  return b;
}

}  // namespace

wait_result park(waiter& w, wait_reason why, std::int64_t until, cancel_point point) noexcept {
  fiber* const f = w.who;
  if (!f) return block_thread(w, until);
  worker_core& home = *f->home;
  const bool only_new = point == cancel_point::if_new;
  const detail::scope* by = nullptr;
  if (f->scope && point != cancel_point::no) [[unlikely]] {
    const bounds b = within_scopes(*f, until, point);
    until = b.until;
    point = b.point;
    by = b.by;
    if (by && until <= base::now() && wake(w, by->how)) f->ended_by_scope = true;
  }
  const bool cancelled = point == cancel_point::yes ? f->cancel_pending || home.closing
                                                    : point != cancel_point::no && !only_new && home.stuck;
  if (cancelled && wake(w, wait_result::cancelled)) f->cancel_pending = f->ended_by_scope = false;
  const std::uint32_t word = w.word.load(std::memory_order_acquire);
  if (word != waiter::undecided && !(word & waiter::posted)) return w.result();

  f->wait = &w;
  f->wait_cancel_point = static_cast<std::uint8_t>(point);
  f->reason = why;
  f->expiry.who = &w;
  if (until != base::never && word == waiter::undecided) home.timers.arm(f->expiry, until);
  f->state = fiber_state::parked;
  base::race_point();
  leave(home, *f);
  if (f->expiry.armed()) home.timers.disarm(f->expiry);
  f->wait = nullptr;
  const wait_result how = w.result();
  if (how != wait_result::expired || !by) return how;
  f->ended_by_scope = true;
  return by->how;
}

bool ends_at_once(const fiber& f) noexcept {
  const bounds b = within_scopes(f, base::never, cancel_point::yes);
  return (b.by && b.until <= base::now()) || (b.point == cancel_point::yes && (f.cancel_pending || f.home->closing));
}

void keep_cancel(fiber& f) noexcept {
  if (!f.ended_by_scope) f.cancel_pending = true;  // a scope ends the next wait by itself
}

void enter(fiber& f, detail::scope& s) noexcept {
  s.outer = f.scope;
  f.scope = &s;
}

void leave(fiber& f, detail::scope& s) noexcept {
  // Usually the innermost; those that a program keeps elsewhere than on its stack may end in any order.
  for (detail::scope** at = &f.scope; *at; at = &(*at)->outer) {
    if (*at != &s) continue;
    *at = s.outer;
    return;
  }
  BIDE_ASSERT(false, "a scope was left by another fiber than the one that entered it");
}

void end_scope(fiber& f, detail::scope& s) noexcept {
  s.until = 0;
  if (f.state != fiber_state::parked || !a_cancel_ends(static_cast<cancel_point>(f.wait_cancel_point))) return;
  for (const detail::scope* at = f.scope; at && at->how != wait_result::ready; at = at->outer) {
    if (at == &s) {
      if (wake(*f.wait, s.how)) f.ended_by_scope = true;
      return;
    }
  }
}

void yield(worker_core& w, fiber& me) noexcept {
  if (!w.ready.empty()) {
    w.ready.push_back(me);  // its state is ready already
    return leave(w, me);
  }
  // Alone, and so never its own successor: back at once, or by way of the loop.
  if (--w.until_check != 0 || !turn_is_due(w)) return;
  make_ready(w, me);
  switch_to(w, me, w.loop);
}

void cancel(fiber& f) noexcept {
  if (f.done.load(std::memory_order_relaxed)) return;
  const auto point = static_cast<cancel_point>(f.wait_cancel_point);
  const bool may_end = a_cancel_ends(point) || (point != cancel_point::no && f.home->stuck);
  f.cancel_pending = f.state != fiber_state::parked || !may_end || !wake(*f.wait, wait_result::cancelled);
  if (!f.cancel_pending) f.ended_by_scope = false;
}

void run_at(worker_core& there, void (*work)(worker_core&, void*) noexcept, void* argument) noexcept {
  if (&there == this_worker()) return work(there, argument);
  struct errand : message {
    waiter done{waiter::reach::anyone};
    void (*work)(worker_core&, void*) noexcept;
    void* argument;
    worker_core* where;
  } e;
  e.work = work;
  e.argument = argument;
  e.where = &there;
  e.deliver = [](message& m) noexcept {
    auto& mine = static_cast<errand&>(m);
    mine.work(*mine.where, mine.argument);
    wake(mine.done, wait_result::ready);
  };
  if (!post(there, e)) return;
#ifndef BIDE_PRELOAD
  attend(there);
#endif
  park(e.done, {"another worker's answer"}, base::never, cancel_point::no);
}

#ifndef BIDE_PRELOAD
// Who posts does so before he finds the turn taken, and who lets the turn go looks at the inbox after that (seq_cst, all
// four): so one of the two delivers. What becomes ready waits for the next step; the post has rung for it.
void attend(worker_core& w) noexcept {
  while (w.stepper.load(std::memory_order_relaxed) && !w.in.empty() && w.turn.exchange(1, std::memory_order_seq_cst) == 0) {
    if (w.stepper.load(std::memory_order_relaxed)) {  // written by who has the turn: it has not ended meanwhile
      worker_core* const before = this_worker();
      become_worker(&w);
      w.in.deliver_all();
      become_worker(before);
    }
    w.turn.store(0, std::memory_order_seq_cst);
  }
}

bool waits_for_own_steps(const fiber& f) noexcept {
  return f.home != this_worker() && f.home->stepper.load(std::memory_order_relaxed) == &bide_this_worker &&
         !f.done.load(std::memory_order_acquire);
}
#endif

}  // namespace bide::core
