// Sleeping, in all its spellings.
#include <limits.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "lib/door/door.hpp"

#define BIDE_NANOSLEEP(n) BIDE_DOOR(int, n, (const timespec* length, timespec* rest), (length, rest), SYS_nanosleep)
BIDE_NANOSLEEP(nanosleep)
BIDE_NANOSLEEP(__nanosleep)

namespace {
BIDE_NAME(clock_nanosleep);
BIDE_NAME(sleep);
BIDE_NAME(usleep);
}  // namespace

// POSIX: returns the error and leaves errno alone. libc refuses the thread's CPU clock itself.
extern "C" BIDE_API int clock_nanosleep(clockid_t clock, int flags, const timespec* when, timespec* rest) {
  using namespace bide;
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(clock_nanosleep)>(clock_nanosleep_name))
      return libc(clock, flags, when, rest);
  }
  if (clock == CLOCK_THREAD_CPUTIME_ID) return EINVAL;
  return static_cast<int>(-door::call(SYS_clock_nanosleep, clock, flags, when, rest));
}
extern "C" BIDE_API int __clock_nanosleep(clockid_t clock, int flags, const timespec* when, timespec* rest) {
  return clock_nanosleep(clock, flags, when, rest);
}

extern "C" BIDE_API unsigned sleep(unsigned seconds) {
  using namespace bide;
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(sleep)>(sleep_name)) return libc(seconds);
  }
  const timespec length{static_cast<time_t>(seconds), 0};
  timespec rest{};
  const long answer = door::call(SYS_nanosleep, &length, &rest);
  if (answer == 0) return 0;
  errno = static_cast<int>(-answer);
  return static_cast<unsigned>(rest.tv_sec);
}

extern "C" BIDE_API int usleep(useconds_t microseconds) {
  using namespace bide;
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(usleep)>(usleep_name)) return libc(microseconds);
  }
  const timespec length{static_cast<time_t>(microseconds / 1'000'000), static_cast<long>(microseconds % 1'000'000) * 1000};
  return static_cast<int>(door::with_errno(door::call(SYS_nanosleep, &length, nullptr)));
}
