// The one clock: CLOCK_MONOTONIC in nanoseconds; or, while a seeded runtime runs (sched/seeded.cpp), the time that it shows
// to the whole process.
#pragma once

#include <bide/detail/export.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <time.h>

// The time shown; 0: the kernel's. Written by the seeded runtime's worker; any thread reads, and so do the doors.
extern "C" BIDE_API std::atomic<std::int64_t> bide_clock_hand;
// For the doors: the program looks at that clock. Returns whether it shows what we show, and that in nanoseconds.
extern "C" BIDE_API bool bide_look(clockid_t, std::int64_t* shown) noexcept;

namespace bide::base {

inline constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
inline constexpr std::int64_t second = 1'000'000'000;

// 0 but in a seeded runtime's process.
inline std::int64_t shown_time() noexcept { return bide_clock_hand.load(std::memory_order_relaxed); }

// vdso(7): no trip to the kernel, no lock, errno untouched because it cannot fail.
inline std::int64_t now() noexcept {
  if (const std::int64_t shown = shown_time()) [[unlikely]] return shown;
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * second + t.tv_nsec;
}

// The kernel's time in any case: for how long a thread sleeps in the kernel.
std::int64_t kernel_now() noexcept;

// Adds without running over: the end of time is never.
inline std::int64_t after(std::int64_t start, std::int64_t length) noexcept {
  std::int64_t sum;
  return __builtin_add_overflow(start, length, &sum) ? never : sum;
}

// When it is `until` by the kernel's time, if the time shown goes on like that one.
inline std::int64_t kernel_time(std::int64_t until) noexcept {
  return shown_time() && until != never ? after(kernel_now(), until - now()) : until;
}

// Does that clock of clock_gettime(2) show what we show, rather than somebody's work?
bool is_shown(clockid_t) noexcept;
// What it shows then.
std::int64_t time_of(clockid_t) noexcept;

inline timespec to_timespec(std::int64_t ns) noexcept { return {ns / second, ns % second}; }

// A cheap stamp to notice that "some time" has passed: 100,000 ticks are 25 to 100 us on a machine of 1 to 4 GHz.
inline std::uint64_t ticks() noexcept { return __builtin_ia32_rdtsc(); }

}  // namespace bide::base
