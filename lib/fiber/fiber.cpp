// A fiber's life: made, started, finished, recycled.
#include "lib/fiber/fiber.hpp"

#include <errno.h>

#include <atomic>
#include <bit>
#include <new>

#include "lib/base/assert.hpp"
#include "lib/base/spin.hpp"
#include "lib/fiber/park.hpp"
#include "lib/fiber/worker_core.hpp"

namespace bide::core {
namespace {

constexpr std::uint32_t most_warm = 1024;  // stacks a worker keeps with their pages
constexpr std::uint64_t id_block = 1024;
std::atomic<std::uint64_t> next_id_block{1};

fiber& place_record(const context::stack& s) noexcept {
  char* at = s.top() - sizeof(fiber);
  return *::new (reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(at) & ~std::uintptr_t{63})) fiber;
}

std::uint64_t new_id(worker_core& w) noexcept {
  if (w.next_id == w.last_id) {
    w.next_id = next_id_block.fetch_add(id_block, std::memory_order_relaxed);
    w.last_id = w.next_id + id_block;
  }
  return w.next_id++;
}

// What of an ended fiber's record must not reach the next; the rest is written before it is read.
void make_fresh(fiber& f) noexcept {
  f.state = fiber_state::fresh;
  f.cancel_pending = f.released = f.unwinds = false;
  f.done.store(false, std::memory_order_relaxed);
  f.thread = {};
  f.wait = nullptr;
  f.wait_cancel_point = 0;
  f.interrupted = f.interrupt_restarts = false;
  f.joiners = nullptr;
  f.locals = nullptr;
  f.requests.store(0, std::memory_order_relaxed);
  f.drop = nullptr;
  f.on_cancel = nullptr;
  f.scope = nullptr;
  f.tid = 0;
  f.name_text = nullptr;
  f.name_length = 0;
}

void enlist(worker_core& home, fiber& f) noexcept {
  home.all.push_back(f);
  home.live.store(home.live.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void started(worker_core& home, fiber& f) noexcept {
  enlist(home, f);
  make_ready(home, f);
}

void make_context(fiber& f, worker_core& home, char* top) noexcept {
  char* low = f.stack.base + context::guard_size;
  f.ctx = context::make(top, static_cast<std::size_t>(top - low));
  f.home = &home;
  if (context::tools::present) [[unlikely]] context::tools::context_made(f.tool, low, top);
}

void deliver_requests(message& m) noexcept {
  fiber& f = *static_cast<fiber*>(m.about);
  const std::uint32_t asked = f.requests.exchange(0, std::memory_order_acq_rel);
  if (asked & request_cancel) cancel(f);
  if (asked & request_release) {
    f.released = true;
    if (f.state == fiber_state::finished) {
      if (f.drop) f.drop(f.frame, f);
      recycle(f);
    }
  }
}

// Where one worker makes fibers and another one ends them, as when one accepts for all, the second gets the stacks that the
// first is short of. What is beyond most_warm goes through here, with its pages.
struct {
  std::atomic<std::uint32_t> lock;
  std::atomic<std::uint32_t> count;  // written under lock, looked at without
  fiber* warm[32];                   // guarded by lock
} surplus;

void push(fiber*& list, fiber& f) noexcept {
  f.frame = list;
  list = &f;
}

fiber* pop(fiber*& list) noexcept {
  fiber* f = list;
  if (f) list = static_cast<fiber*>(f->frame);
  return f;
}

fiber* take_warm(worker_core& w, int shift) noexcept {
  if (fiber* f = pop(w.warm[shift])) {
    --w.warm_count;
    return f;
  }
  if (w.scrub || surplus.count.load(std::memory_order_relaxed) == 0) return nullptr;
  base::spin_guard guard(surplus.lock);
  fiber* f = pop(surplus.warm[shift]);
  if (f) surplus.count.fetch_sub(1, std::memory_order_relaxed);
  return f;
}

// The end of a fiber, still on its own stack.
void finish(fiber& f) noexcept {
  worker_core& home = *f.home;
  if ((f.released || (f.requests.load(std::memory_order_acquire) & request_release)) && f.drop) {
    f.drop(f.frame, f);
    f.drop = nullptr;
  }
  f.done.store(true, std::memory_order_release);  // pairs with join's and fiber_done's acquire
  while (join_node* j = f.joiners) {
    f.joiners = j->next;  // read first: the node is gone once its owner runs
    wake(j->wait, wait_result::ready);
  }
  home.all.erase(home.all.iterator_to(f));
  home.live.store(home.live.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  f.state = fiber_state::finished;
}

}  // namespace

// Called by asm/entry.S with whoever switched here, which is another context of the same worker. Returns the last switch
// for it to make: where to, and who says so. A function that never returned would leave the processor's return
// predictor one call off for the fiber that runs next.
extern "C" BIDE_UNCOUNTED context::arrival bide_fiber_main(context::arrival a) {
  fiber& me = *static_cast<fiber*>(a.data)->home->current.get();
  arrive(me, a);
  me.body(me.frame);
  finish(me);
  worker_core& w = *me.home;
  fiber& next = next_to_run(w);
  before_leaving(w, me, next);
  return {next.ctx, &me};
}

void adopt_running(worker_core& w, fiber& f) noexcept {
  f.home = &w;
  f.state = fiber_state::ready;
  enlist(w, f);
  w.current = &f;
}

void end_here(fiber& f) noexcept {
  finish(f);
  leave(*f.home, f);
  __builtin_unreachable();
}

fiber* make_fiber(worker_core& w, std::size_t stack_size) noexcept {
  const int shift = std::countr_zero(stack_size);
  context::stack s;
  if (fiber* warm = take_warm(w, shift)) {
    make_fresh(*warm);
    warm->id = new_id(w);
    return warm;
  }
  if (context::take_stack(stack_size, s) != 0) {
    return nullptr;
  }
  fiber& f = place_record(s);
  f.stack = s;
  f.id = new_id(w);
  return &f;
}

fiber* make_fiber_apart(std::size_t stack_size) noexcept {
  context::stack s;
  if (context::take_stack(stack_size, s) != 0) return nullptr;
  fiber& f = place_record(s);
  f.stack = s;
  f.id = next_id_block.fetch_add(1, std::memory_order_relaxed);
  return &f;
}

void start(fiber& f, worker_core& home, char* top) noexcept {
  make_context(f, home, top);
  if (&home == this_worker()) return started(home, f);
  home.incoming.fetch_add(1, std::memory_order_relaxed);
  f.mail.about = &f;
  f.mail.deliver = [](message& m) noexcept {
    fiber& arrived = *static_cast<fiber*>(m.about);
    started(*arrived.home, arrived);
    arrived.home->incoming.fetch_sub(1, std::memory_order_relaxed);
  };
  BIDE_ASSERT(post(home, f.mail), "a fiber was started on a worker that has ended");
}

#ifdef BIDE_PRELOAD
void start_and_run(fiber& f, worker_core& home, char* top) noexcept {
  fiber& me = *home.current.get();
  make_context(f, home, top);
  enlist(home, f);
  if (--home.until_check == 0 && turn_is_due(home)) return make_ready(home, f);
  f.state = fiber_state::ready;
  home.ready.push_back(me);  // its state is ready already
  switch_to(home, me, f);
}
#endif

void recycle(fiber& f) noexcept {
  if (f.home->watched) [[unlikely]] {
    // Whoever looks from now on finds another one running.
    base::spin_guard nobody_reads(*f.home->watched);
  }
  if (context::tools::present) context::tools::context_gone(f.tool);
  worker_core* here = this_worker();
  if (!here || here->scrub) return context::give_stack(f.stack);
  if (here->warm_count < most_warm) {
    push(here->warm[f.stack.shift], f);
    ++here->warm_count;
    return;
  }
  {
    base::spin_guard guard(surplus.lock);
    if (surplus.count.load(std::memory_order_relaxed) < most_warm) {
      push(surplus.warm[f.stack.shift], f);
      surplus.count.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  }
  context::give_stack(f.stack);
}

void give_warm(worker_core& w) noexcept {
  for (int shift = 0; shift < 32; ++shift)
    while (fiber* f = take_warm(w, shift)) context::give_stack(f->stack);
}

void forget_surplus() noexcept {
  surplus.lock.store(0, std::memory_order_relaxed);
  surplus.count.store(0, std::memory_order_relaxed);
  for (fiber*& list : surplus.warm) list = nullptr;
}

void request(fiber& f, std::uint32_t which) noexcept {
  worker_core& home = *f.home;
  const bool done = f.done.load(std::memory_order_acquire);
  if (which == request_cancel && !done && f.on_cancel) f.on_cancel(f);
  if (which == request_release && done && f.drop) {
    // The result goes here, in the releaser's own context: what destroys it may wait.
    f.drop(f.frame, f);
    f.drop = nullptr;
  }
  if (which == request_cancel && done) return;
  // At home the request is carried out at once, unless mail is on its way: that must not find the record gone.
  if (&home == this_worker() && f.requests.load(std::memory_order_acquire) == 0) {
    if (which == request_cancel) return cancel(f);
    f.released = true;
    if (f.state == fiber_state::finished) recycle(f);
    return;
  }
  if (f.requests.fetch_or(which, std::memory_order_acq_rel) != 0) return;  // already on its way
  f.request_mail.about = &f;
  f.request_mail.deliver = deliver_requests;
  // Refused: the worker has ended. If the fiber has as well, the record is the caller's alone; if not, this is the child
  // of a fork, where the fiber is not.
  if (!post(home, f.request_mail) && done) deliver_requests(f.request_mail);
}

void settle_requests() noexcept {
  fiber& me = *this_fiber();
  while (me.requests.load(std::memory_order_acquire) != 0) yield(*me.home, me);
}

namespace {

void take_off(fiber& f, join_node& n) noexcept {
  for (join_node** at = &f.joiners; *at; at = &(*at)->next) {
    if (*at != &n) continue;
    *at = n.next;
    return;
  }
}

wait_reason end_of(const fiber& f) noexcept { return {"the end of fiber", static_cast<long>(f.id)}; }

// From another thread: the list of joiners is the home's.
wait_result join_from_afar(fiber& f, std::int64_t until) noexcept {
  struct seat : message {
    waiter wait{waiter::reach::anyone};
    join_node node{wait};
    fiber* whom = nullptr;
  } mine;
  mine.whom = &f;
  mine.deliver = [](message& m) noexcept {
    auto& s = static_cast<seat&>(m);
    if (s.whom->done.load(std::memory_order_relaxed)) {
      wake(s.wait, wait_result::ready);
      return;
    }
    s.node.next = s.whom->joiners;
    s.whom->joiners = &s.node;
  };
  // No answer is waited for: a fiber has one mail, so it must not be in reach of two wakers.
  // Refused: the worker has ended, with all its fibers, or this is the child of a fork, where the fiber is not.
  if (!post(*f.home, mine)) return wait_result::closed;
  const wait_result how = park(mine.wait, end_of(f), until, cancel_point::yes);
  // Delivered after the seat itself, which stands on this stack.
  if (how != wait_result::ready) {
    run_at(*f.home, [](worker_core&, void* p) noexcept {
      auto& s = *static_cast<seat*>(p);
      take_off(*s.whom, s.node);
    }, &mine);
  }
  return how;
}

}  // namespace

wait_result join(fiber& f, std::int64_t until) noexcept {
  if (f.done.load(std::memory_order_acquire)) return wait_result::ready;
  wait_result how;
  if (f.home == this_worker()) {
    waiter w(waiter::reach::home);
    join_node n{w, f.joiners};
    f.joiners = &n;
    how = park(w, end_of(f), until, cancel_point::yes);
    if (how != wait_result::ready) take_off(f, n);
  } else {
    how = join_from_afar(f, until);
  }
  if (!f.done.load(std::memory_order_acquire)) return how;
  if (how == wait_result::cancelled) keep_cancel(*this_fiber());  // both came, and neither is lost
  return wait_result::ready;
}

bool turn_is_due(worker_core& w) noexcept {
  if (w.chance) [[unlikely]] {
    w.until_check = 1;
    return true;  // each switch is by way of the loop, which chooses
  }
  const std::uint64_t slice = w.slice;
  const std::uint64_t now = base::ticks();
  // Look at the clock about four times a slice, however long fibers run between switches.
  const std::uint64_t since = now - w.checked_at;
  if (since > slice / 2) {
    w.check_every = w.check_every > 1 ? w.check_every / 2 : 1;
  } else if (since < slice / 8 && w.check_every < 256) {
    w.check_every *= 2;
  }
  w.checked_at = now;
  w.until_check = w.check_every;
  return now - w.turn_began > slice || !w.in.empty() || w.signalled.load(std::memory_order_relaxed);
}

}  // namespace bide::core
