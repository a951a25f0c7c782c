// Sleeping, and giving way.
#include <time.h>

#include <algorithm>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/fiber/park.hpp"

namespace bide::call {
namespace {

// Parks until then. Returns 0, -EINTR, -ECANCELED or -ETIMEDOUT. signal(7): sleeps are never restarted after a handler.
long sleep_until(std::int64_t until, const char* name) noexcept {
  until = std::min(until, base::never - 1);  // even the longest has an end, and is no deadlock
  while (base::now() < until) {
    core::waiter w(core::waiter::reach::home);
    const wait_result how = core::park(w, {name, -1, true}, until, core::cancel_point::yes);
    if (how == wait_result::cancelled) return -ECANCELED;
    if (how == wait_result::timed_out) return -ETIMEDOUT;
    if (signal_seen(true) == after_signal::report) return -EINTR;
  }
  return 0;
}

long sleep_for(const timespec& length, long rest, const char* name) noexcept {
  if (length.tv_sec < 0 || length.tv_nsec < 0 || length.tv_nsec >= base::second) return -EINVAL;
  const bool beyond = length.tv_sec > base::never / base::second - 1;
  const std::int64_t until =
      beyond ? base::never : base::after(base::now(), length.tv_sec * base::second + length.tv_nsec);
  const long end = sleep_until(until, name);
  if (end && rest) {
    const timespec left = base::to_timespec(std::max<std::int64_t>(0, until - base::now()));
    if (const long error = copy_out(reinterpret_cast<void*>(rest), &left, sizeof left)) return error;
  }
  return end;
}

}  // namespace

long sched_yield_call(long, long, long, long, long, long) {
  core::yield(*core::this_worker(), *core::this_fiber());
  return 0;
}

long nanosleep_call(long length, long rest, long, long, long, long) {
  timespec t;
  if (const long error = copy_in(&t, reinterpret_cast<void*>(length), sizeof t)) return error;
  return sleep_for(t, rest, "nanosleep");
}

long clock_nanosleep_call(long clock, long flags, long when, long rest, long, long) {
  switch (clock) {
    case CLOCK_MONOTONIC: case CLOCK_REALTIME: case CLOCK_BOOTTIME: case CLOCK_TAI: break;
    // Clocks that count somebody's work, alarms, and no clocks at all.
    default: return offloaded("clock_nanosleep", -1, restarts::no, SYS_clock_nanosleep, clock, flags, when, rest);
  }
  timespec t;
  if (const long error = copy_in(&t, reinterpret_cast<void*>(when), sizeof t)) return error;
  if (!(flags & TIMER_ABSTIME)) return sleep_for(t, rest, "clock_nanosleep");
  if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= base::second) return -EINVAL;
  const bool beyond = t.tv_sec > base::never / base::second - 1;
  const std::int64_t when_ns = beyond ? base::never : t.tv_sec * base::second + t.tv_nsec;
  // A clock that is set meanwhile is noticed at the end of the time first computed.
  for (;;) {
    const std::int64_t now = base::time_of(static_cast<clockid_t>(clock));
    if (now >= when_ns) return 0;
    if (const long end = sleep_until(base::after(base::now(), when_ns - now), "clock_nanosleep")) return end;
  }
}

}  // namespace bide::call
