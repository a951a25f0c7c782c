// Waiting for signals, where fibers share their worker's kernel thread and its mask. (A preloaded program's threads have
// signals of their own: signal.cpp.)
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <algorithm>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/mask.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/runtime.hpp"

namespace bide::call {
namespace {

constexpr long set_size = 8;

// Parks until a handler has run: for the first fiber anywhere, as for a program's main thread; for any other on its
// worker, which it looks for now and then.
long until_handled(const char* name, std::uint32_t seen) noexcept {
  core::worker_core& w = *core::this_worker();
  constexpr std::int64_t look = 10'000'000;
  const bool told = core::this_fiber() == w.runtime->main;
  while (w.handlers.load(std::memory_order_relaxed) == seen) {
    core::waiter wait(core::waiter::reach::home);
    // Even the longest has an end, and is no deadlock: a signal may come from outside.
    const std::int64_t until = told ? base::never - 1 : base::after(base::now(), look);
    const wait_result how = core::park(wait, {name, -1, true}, until, core::cancel_point::yes);
    const bool signalled = signal_seen(true) == after_signal::report;
    if (how == wait_result::cancelled) return -ECANCELED;
    if (signalled) return -EINTR;
    if (how == wait_result::timed_out) return -ETIMEDOUT;
  }
  return -EINTR;
}

std::uint32_t handlers_so_far() noexcept { return core::this_worker()->handlers.load(std::memory_order_relaxed); }

}  // namespace

long pause_call(long, long, long, long, long, long) { return until_handled("pause", handlers_so_far()); }

long rt_sigsuspend_call(long mask, long size, long, long, long, long) {
  const std::uint32_t seen = handlers_so_far();
  unsigned long set;
  if (size != set_size) return -EINVAL;
  if (const long error = copy_in(&set, reinterpret_cast<void*>(mask), sizeof set)) return error;
  const mask_for_wait masked(&set, sizeof set);
  return masked.error() ? masked.error() : until_handled("sigsuspend", seen);
}

// signalfd(2) tells of the signals that a thread would be given, and leaves them where they are.
long rt_sigtimedwait_call(long wanted, long info, long limit, long size, long, long) {
  std::int64_t until = base::never;
  if (limit) {
    std::int64_t length;
    if (const long error = read_time(reinterpret_cast<void*>(limit), length)) return error;
    until = length ? base::after(base::now(), length) : 0;
  }
  constexpr timespec none{0, 0};
  const auto take = [&] { return attempt(SYS_rt_sigtimedwait, wanted, info, &none, size); };
  long now = take();
  if (now != -EAGAIN || until == 0) return now;
  const long made = attempt(SYS_signalfd4, -1, wanted, set_size, SFD_CLOEXEC | SFD_NONBLOCK);
  const int fd = made < 0 ? static_cast<int>(made) : io::adopt_own_fd(static_cast<int>(made));
  if (fd < 0) return offloaded("sigtimedwait", -1, restarts::no, SYS_rt_sigtimedwait, wanted, info, limit, size);
  while (now == -EAGAIN) {
    const long end = await_ready(fd, readiness::readable, "sigtimedwait", until, true);
    now = end == 0 || end == -ETIME ? take() : end;
    if (end == -ETIME) break;
  }
  core::this_worker()->reactor->forget(fd);
  io::close_own_fd(fd);
  return now;
}

}  // namespace bide::call
