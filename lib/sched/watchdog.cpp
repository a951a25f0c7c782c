#include "lib/sched/watchdog.hpp"

#include <stdlib.h>

#include <algorithm>

#include "lib/base/spin.hpp"
#include "lib/base/text.hpp"
#include "lib/diag/fibers.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/raw.hpp"
#include "lib/sys/thread.hpp"

namespace bide::core {
namespace {

bool wanted(const options& how) noexcept {
  if (how.debug != debug_mode::by_environment) return how.debug == debug_mode::on;
  const char* set = getenv("BIDE_DEBUG");
  return set && *set && *set != '0';
}

// By its number alone: it may have ended.
void report_end(std::uint64_t id, std::int64_t length) noexcept {
  base::text t;
  (t << "bide: fiber " << id << " let its worker go after " << length / 1'000'000 << " ms\n").to_stderr();
}

}  // namespace

void watchdog::open(runtime& rt) noexcept {
  if (!wanted(rt.how)) return;
  all_ = &rt;
  slow_ = std::max<std::int64_t>(rt.how.slow.count(), 1'000'000);
  over_.store(0, std::memory_order_relaxed);
  thread_.store(1, std::memory_order_relaxed);
  for (unsigned i = 0; i < rt.count; ++i) rt.workers[i]->watched = &seats_[i].reads;
  const int error = sys::start_thread("bide-debug", sys::signals::blocked, [](void* p) {
    auto& me = *static_cast<watchdog*>(p);
    me.watch();
    me.thread_.store(0, std::memory_order_release);
    sys::futex_wake(me.thread_, 1);
  }, this);
  if (!error) return;
  thread_.store(0, std::memory_order_relaxed);
  base::text t;
  (t << "bide: no debug mode: no thread can be started for it (error " << -error << ")\n").to_stderr();
}

void watchdog::close() noexcept {
  over_.store(1, std::memory_order_release);
  sys::futex_wake(over_, 1);
  for (std::uint32_t there; (there = thread_.load(std::memory_order_acquire)) != 0;)
    sys::futex_wait(thread_, there, base::never);
  forget();
}

void watchdog::forget() noexcept {
  thread_.store(0, std::memory_order_relaxed);
  for (unsigned i = 0; all_ && i < all_->count; ++i) all_->workers[i]->watched = nullptr;
}

void watchdog::watch() noexcept {
  while (!over_.load(std::memory_order_acquire)) {
    sys::futex_wait(over_, 0, base::after(base::kernel_now(), slow_ / 8));
    const std::int64_t now = base::kernel_now();
    for (unsigned i = 0; i < all_->count; ++i) look(*all_->workers[i], seats_[i], now);
  }
}

void watchdog::look(worker_core& w, seat& s, std::int64_t now) noexcept {
  fiber* const running = w.current;
  if (!s.owed.load(std::memory_order_acquire)) {
    if (s.said) report_end(s.id, now - s.since);
    s.said = false;
    s.since = now;
    s.held = running;
    // One that sleeps need not be woken, and one without a fiber holds nothing.
    if (!running || running == &w.loop || w.asleep.load(std::memory_order_relaxed)) return;
    s.ask.about = &s;
    s.ask.deliver = [](message& m) noexcept { static_cast<seat*>(m.about)->owed.store(false, std::memory_order_release); };
    s.owed.store(true, std::memory_order_relaxed);
    if (!post(w, s.ask)) s.owed.store(false, std::memory_order_relaxed);
    return;
  }
  if (running != s.held) {
    s.said = false;
    s.since = now;
    s.held = running;
  } else if (!s.said && now - s.since >= slow_ && running && running != &w.loop) {
    report(w, s, now - s.since);
  }
}

void watchdog::report(worker_core& w, seat& s, std::int64_t length) noexcept {
  base::text t;
  {
    base::spin_guard it_stays(s.reads);
    const fiber* const running = w.current.seen();
    if (running != s.held) return;
    s.id = running->id;
    diag::describe(t << "bide: ", *running);
  }
  s.said = true;
  (t << " has held its worker for " << length / 1'000'000 << " ms\n").to_stderr();
}

}  // namespace bide::core
