// What time it is. Nothing of it waits: these have doors because a seeded runtime's fibers are to read its time, not the
// kernel's. With none there it costs a load, a branch that is never taken, and a jump to libc's own.
#include <sys/time.h>
#include <time.h>

#include "lib/base/clock.hpp"
#include "lib/door/door.hpp"

namespace {

BIDE_NAME(clock_gettime);
BIDE_NAME(gettimeofday);
BIDE_NAME(time);
BIDE_NAME(timespec_get);

using namespace bide;

bool shown(clockid_t clock, timespec& to) noexcept {
  if (!base::shown_time()) [[likely]] return false;
  std::int64_t time;
  if (!door::on_fiber() || !bide_look(clock, &time)) return false;
  to = base::to_timespec(time);
  return true;
}

}  // namespace

extern "C" BIDE_API int clock_gettime(clockid_t clock, timespec* to) noexcept {
  if (shown(clock, *to)) return 0;
  if (const auto libc = door::real<decltype(clock_gettime)>(clock_gettime_name)) [[likely]] return libc(clock, to);
  return static_cast<int>(door::with_errno(door::raw(SYS_clock_gettime, clock, to)));
}

extern "C" BIDE_API int gettimeofday(timeval* __restrict to, void* __restrict zone) noexcept {
  timespec t;
  if (!zone && shown(CLOCK_REALTIME, t)) {
    *to = {t.tv_sec, t.tv_nsec / 1000};
    return 0;
  }
  if (const auto libc = door::real<decltype(gettimeofday)>(gettimeofday_name)) [[likely]] return libc(to, zone);
  return static_cast<int>(door::with_errno(door::raw(SYS_gettimeofday, to, zone)));
}

extern "C" BIDE_API time_t time(time_t* to) noexcept {
  timespec t;
  if (shown(CLOCK_REALTIME, t)) {
    if (to) *to = t.tv_sec;
    return t.tv_sec;
  }
  if (const auto libc = door::real<decltype(time)>(time_name)) [[likely]] return libc(to);
  return door::raw(SYS_time, to);
}

extern "C" BIDE_API int timespec_get(timespec* to, int base) noexcept {
  if (base == TIME_UTC && shown(CLOCK_REALTIME, *to)) return base;
  const auto libc = door::real<decltype(timespec_get)>(timespec_get_name);
  return libc ? libc(to, base) : 0;
}
