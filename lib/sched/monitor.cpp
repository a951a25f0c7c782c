#include "lib/sched/monitor.hpp"

#include <errno.h>

#include <algorithm>
#include <atomic>

#include "lib/base/arena.hpp"
#include "lib/base/clock.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {
namespace {

constexpr std::int64_t period = 2'500'000;  // stuck for one to two of them: rescued within 5 ms
constexpr int patience = 40;                // periods in which nobody did anything, before it sleeps itself

std::atomic<bool> started{false};
std::atomic<std::uint32_t> sleeping{0};  // its futex: 1 while it sleeps
std::int64_t slice = 10'000'000;
context::carrier_block block;            // where its GS points: it carries nothing, ever
alignas(64) char stack[16 * 1024];

struct last_look {
  void* holder = nullptr;
  std::uint32_t calls = 0, switches = 0;
  std::int64_t since = 0;  // when it was first seen running the same fiber
};

// Returns whether the worker did anything since the last look.
bool look_at(worker_core& w, last_look& last) noexcept {
  if (live_threads() == 1) return false;  // nobody is held up
  void* const holder = w.in_kernel.load(std::memory_order_acquire);
  const std::uint32_t calls = w.kernel_calls.load(std::memory_order_relaxed);
  const std::uint32_t switches = w.switches.load(std::memory_order_relaxed);
  const std::int64_t now = base::kernel_now();
  if (holder && holder == last.holder && calls == last.calls) {
    take_from_kernel_thread(w, holder);
    last.holder = nullptr;
    return true;
  }
  const bool moved = switches != last.switches || calls != last.calls;
  if (moved || holder) {
    last = {holder, calls, switches, now};
    return true;
  }
  if (w.asleep.load(std::memory_order_relaxed)) {
    last.since = now;
    return false;
  }
  // It runs one and the same fiber.
  if (slice && now - last.since >= slice) {
    last.since = now;
    if (auto* c = static_cast<carrier*>(w.carrier)) interrupt_carrier(*c);
  }
  return true;
}

void run(void*) {
  context::set_block(block);
  sys::raw(SYS_prctl, 15 /* PR_SET_NAME */, "bide-monitor");
  last_look last[most_workers];
  for (int quiet = 0;;) {
    const timespec nap = base::to_timespec(period);
    sys::raw(SYS_nanosleep, &nap, nullptr);
    bool busy = false;
    for (unsigned i = 0; i < most_workers; ++i) {
      if (worker* w = worker_at(i)) busy |= look_at(*w, last[i]);
    }
    quiet = busy ? 0 : quiet + 1;
    if (quiet < patience) continue;
    sleeping.store(1, std::memory_order_seq_cst);
    bool all_asleep = true;  // or of no concern
    const bool alone = live_threads() == 1;
    for (unsigned i = 0; i < most_workers; ++i) {
      if (worker* w = worker_at(i)) all_asleep &= alone || w->asleep.load(std::memory_order_seq_cst);
    }
    while (all_asleep && sleeping.load(std::memory_order_seq_cst)) sys::futex_wait(sleeping, 1, base::never);
    sleeping.store(0, std::memory_order_relaxed);
    quiet = 0;
  }
}

}  // namespace

void set_slice(std::int64_t ns) noexcept { slice = ns; }

void start_monitor() noexcept {
  if (started.load(std::memory_order_relaxed) || started.exchange(true)) return wake_monitor();
  block.inside = 1;
  // Without it a thread that waits in the kernel, or computes, holds up the others of its worker.
  if (start_kernel_thread(run, nullptr, stack, sizeof stack) < 0) started.store(false);
}

void wake_monitor() noexcept {
  if (!sleeping.load(std::memory_order_seq_cst) || !sleeping.exchange(0)) return;
  sys::futex_wake(sleeping, 1);
}

void monitor_after_fork() noexcept {
  started.store(false, std::memory_order_relaxed);
  sleeping.store(0, std::memory_order_relaxed);
}

}  // namespace bide::core
