#include "lib/sched/runtime.hpp"

#include <errno.h>
#include <stdlib.h>

#include <algorithm>
#include <new>

#include "lib/base/arena.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/spin.hpp"
#include "lib/base/text.hpp"
#include "lib/context/stack.hpp"
#include "lib/diag/fibers.hpp"
#include "lib/fiber/park.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/io/offload.hpp"
#include "lib/sched/signals.hpp"
#ifndef BIDE_PRELOAD
#include "lib/sched/trapping.hpp"
#endif
#include "lib/sys/features.hpp"
#include "lib/sys/raw.hpp"
#include "lib/sys/task_count.hpp"
#include "lib/sys/thread.hpp"

namespace bide::core {
namespace {

// Workers are never freed: a handle may outlive its runtime, and asks the worker's inbox, which then refuses.
std::atomic<std::uint32_t> registry_lock;
worker* made[most_workers];     // guarded by registry_lock
bool in_use[most_workers];      // guarded by registry_lock

// Returns null, and in `error` why: all are in use, or there is no memory.
worker* claim_worker(int& error) noexcept {
  base::spin_guard guard(registry_lock);
  for (unsigned i = 0; i < most_workers; ++i) {
    if (in_use[i]) continue;
    if (!made[i]) {
      void* room = base::arena_allocate(sizeof(worker));
      if (!room) {
        error = -ENOMEM;
        return nullptr;
      }
      made[i] = ::new (room) worker;
      made[i]->index = i;
    }
    in_use[i] = true;
    return made[i];
  }
  error = -EAGAIN;
  return nullptr;
}

void give_back(worker* w) noexcept {
  base::spin_guard guard(registry_lock);
  in_use[w->index] = false;
}

std::atomic<unsigned> open_runtimes{0};

#ifndef BIDE_PRELOAD
bool wants_trap_door(const options& o) noexcept {
  if (o.trap != trap_door::by_environment) return o.trap == trap_door::on;
  const char* set = getenv("BIDE_TRAP");
  return set && *set && *set != '0';
}
#endif

// Every worker that runs, for reports from a signal handler or another thread.
std::size_t list_workers(worker_core** out, std::size_t room) noexcept {
  std::size_t count = 0;
  for (unsigned i = 0; i < most_workers && count < room; ++i) {
    if (in_use[i]) out[count++] = made[i];
  }
  return count;
}

}  // namespace

worker* worker_at(unsigned index) noexcept { return in_use[index] ? made[index] : nullptr; }

unsigned runtimes() noexcept { return open_runtimes.load(std::memory_order_relaxed); }

void abandon_other_workers(worker* mine) noexcept {
  registry_lock.store(0, std::memory_order_relaxed);
  for (unsigned i = 0; i < most_workers; ++i) {
    if (!in_use[i] || made[i] == mine) continue;
    in_use[i] = false;
    made[i]->in.close_unread();
    made[i]->io.close();
    made[i] = nullptr;  // handles still find the record; a runtime to come gets a new one
  }
#ifdef BIDE_PRELOAD
  // The process's signals come to worker 0.
  if (mine->index != 0) {
    made[0] = mine;
    made[mine->index] = nullptr;
    in_use[0] = true;
    in_use[mine->index] = false;
    mine->index = 0;
  }
#endif
  open_runtimes.store(mine ? 1 : 0, std::memory_order_relaxed);
}

void name_unknown_feature() noexcept {
  static std::atomic<bool> looked{false};
  const char* const given = getenv("BIDE_DISABLE");
  if (!given || looked.exchange(true, std::memory_order_relaxed)) return;
  const std::string_view unknown = sys::unknown_feature(given);
  if (unknown.empty()) return;
  base::text t;
  (t << "bide: BIDE_DISABLE=" << given << ": " << unknown << " is none of " << sys::feature_names << '\n').to_stderr();
}

int runtime::open(const options& o) noexcept {
  name_unknown_feature();
  how = o;
  diag::set_worker_list(list_workers);
  for (count = 0; count < o.workers;) {
    int error = 0;
    worker* w = claim_worker(error);
    if (w) error = w->open(*this);
    if (!error) {
      w->scrub = o.reuse == stack_reuse::scrubbed;
      workers[count++] = w;
      continue;
    }
    if (w) give_back(w);
    close();
    return error;
  }
  io::offload_open(o.offload_threads);
  // While there was none, doors saw nothing of what the program did to its descriptors.
  if (open_runtimes.fetch_add(1, std::memory_order_relaxed) == 0) io::all_fds_shared();
  opened_ = true;
  if (o.seed) workers[0]->roll_dice(o.seed);
#ifndef BIDE_PRELOAD
  traps = wants_trap_door(o) && open_trap_door();
  watchdog_.open(*this);
#endif
  return 0;
}

void runtime::close() noexcept {
  if (opened_) {
#ifndef BIDE_PRELOAD
    watchdog_.close();
    if (traps) close_trap_door();
    traps = false;
#endif
    if (how.seed) bide_clock_hand.store(0, std::memory_order_relaxed);
    open_runtimes.fetch_sub(1, std::memory_order_relaxed);
    io::offload_close();
  }
  opened_ = false;
  for (unsigned i = 0; i < count; ++i) {
    workers[i]->shut();
    give_back(workers[i]);
  }
  count = 0;
}

void runtime::run() noexcept {
  claim_signals(*workers[0]);
  for (unsigned i = 1; i < count; ++i) {
    threads.fetch_add(1, std::memory_order_relaxed);
    const int error = sys::start_thread("bide-worker", sys::signals::inherited, [](void* p) {
      auto& w = *static_cast<worker*>(p);
      core::runtime& rt = *w.runtime;
      diag::enter_thread();
      w.run();
      diag::leave_thread();
      if (rt.threads.fetch_sub(1, std::memory_order_acq_rel) == 1) sys::futex_wake(
          rt.threads, 1);
    }, workers[i]);
    if (error) {
      // Fewer workers than asked for still run every fiber.
      threads.fetch_sub(1, std::memory_order_relaxed);
      base::text t;
      (t << "bide: only " << i << " of " << count << " workers: no more threads can be started (error " << -error
         << "); see ulimit -u\n").to_stderr();
      for (unsigned rest = i; rest < count; ++rest) {
        workers[rest]->shut();
        give_back(workers[rest]);
      }
      count = i;
    }
  }
  diag::enter_thread();
  workers[0]->run();
  diag::leave_thread();
  leave_signals(*workers[0]);
  for (std::uint32_t left; (left = threads.load(std::memory_order_acquire)) != 0;)
    sys::futex_wait(threads, left, base::never);
}

worker_core& runtime::least_loaded(worker_core& mine, prefer how) noexcept {
  const auto load = [](const worker_core& w) {
    return w.live.load(std::memory_order_relaxed) + w.incoming.load(std::memory_order_relaxed);
  };
  worker_core* best = &mine;
  std::uint32_t least = count > 1 ? load(mine) : 0;
  if (how == prefer::home) least -= least / 8;
  for (unsigned i = 0; i < count && count > 1; ++i) {
    const std::uint32_t other = load(*workers[i]);
    const bool idles = how == prefer::balance && other == least && best == &mine &&
                       workers[i]->asleep.load(std::memory_order_relaxed) && !mine.asleep.load(std::memory_order_relaxed);
    if (other < least || idles) {
      least = other;
      best = workers[i];
    }
  }
  return *best;
}

void runtime::tell_all(void (*what)(worker_core&, void*) noexcept) noexcept {
  for (unsigned i = 0; i < count; ++i) run_at(*workers[i], what, nullptr);
}

void runtime::begin_closing() noexcept {
  closing.store(true, std::memory_order_seq_cst);
  tell_all([](worker_core& w, void*) noexcept {
    w.closing = true;
    static_cast<worker&>(w).cancel_all();
  });
}

bool runtime::all_quiet(std::uint32_t& live) noexcept {
  std::uint32_t wakes[2] = {0, 0};
  for (int round = 0; round < 2; ++round) {
    live = 0;
    for (unsigned i = 0; i < count; ++i) {
      const worker& w = *workers[i];
      wakes[round] += w.wakes.load(std::memory_order_seq_cst);
      if (!w.hopeless.load(std::memory_order_seq_cst) || !w.in.empty() || w.incoming.load(std::memory_order_seq_cst))
        return false;
      live += w.live.load(std::memory_order_relaxed);
    }
  }
  // A worker that woke up in between has counted it before it took anything from its inbox.
  return wakes[0] == wakes[1];
}

bool runtime::ended() noexcept {
  std::uint32_t live = 0;
  if (!closing.load(std::memory_order_seq_cst) || !all_quiet(live) || live != 0) return false;
  stopping.store(true, std::memory_order_release);
  for (unsigned i = 0; i < count; ++i) ring(*workers[i]);
  return true;
}

std::uint32_t runtime::wakes() const noexcept {
  std::uint32_t sum = 0;
  for (unsigned i = 0; i < count; ++i) sum += workers[i]->wakes.load(std::memory_order_seq_cst);
  return sum;
}

std::int64_t runtime::patience() const noexcept {
  for (unsigned i = 0; i < count; ++i) {
    if (!workers[i]->hopeless.load(std::memory_order_seq_cst)) return base::never;
  }
  return patience_.load(std::memory_order_relaxed);
}

bool runtime::nothing_can_wake() noexcept {
  const std::uint32_t before = wakes();
  std::uint32_t live = 0;
  if (!all_quiet(live) || live == 0 || io::offload_busy() != 0) return false;
  unsigned ours = threads.load(std::memory_order_relaxed) + 1 + io::offload_threads() + context::tools::own_threads();
#ifndef BIDE_PRELOAD
  ours += watchdog_.threads();
#endif
  if (sys::count_tasks() != ours) {
    // Other threads may still wake somebody. Ask less and less often.
    const std::int64_t longer = patience_.load(std::memory_order_relaxed) * 2;
    patience_.store(std::min<std::int64_t>(longer, 10 * base::second), std::memory_order_relaxed);
    return false;
  }
  // A thread that was there at the first look may have woken somebody and ended before the count.
  return all_quiet(live) && live != 0 && wakes() == before;
}

void runtime::judge() noexcept {
  if (judging_.exchange(true, std::memory_order_acquire)) return;
  if (nothing_can_wake()) condemn();
  judging_.store(false, std::memory_order_release);
}

void runtime::condemn() noexcept {
  const bool again = stuck.exchange(true);
  base::text t;
  (t << "bide: every fiber is parked and nothing is left that could wake one; " << (again ? "still " : "")
     << "waiting:\n").to_stderr();
  diag::list_fibers(2);
  closing.store(true, std::memory_order_seq_cst);
  for (unsigned i = 0; i < count; ++i) {
    worker& w = *workers[i];
    if (w.news_on_its_way.exchange(true, std::memory_order_relaxed)) continue;
    w.stuck_news.about = &w;
    w.stuck_news.deliver = [](message& m) noexcept {
      auto& told = *static_cast<worker*>(m.about);
      told.news_on_its_way.store(false, std::memory_order_relaxed);
      told.closing = true;
      ++told.stuck;
      told.cancel_all();
    };
    post(w, w.stuck_news);
  }
}

}  // namespace bide::core
