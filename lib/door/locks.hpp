// How a fiber waits for a lock of libc's: it tries, and tries again when somebody lets go by a door, or after a nap.
//
// Who lets go inside libc (in a condition variable's wait on a plain thread), or in another process, passes every door: hence
// the naps. Nothing ends such a wait but the lock: libc's has no answer that says so.
#pragma once

#include <bide/shield.hpp>
#include <errno.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "lib/door/door.hpp"

namespace bide::door {

// Fibers that wait for a lock; any thread. Who lets go looks here behind libc's own locked instruction, who waits counts
// himself before his last try: so one of the two sees the other. (Where libc has none, the process has one thread.)
inline std::atomic<std::uint32_t> lock_waiters{0};

inline void tell_waiters(const void* lock, long count) noexcept {
  if (lock_waiters.load(std::memory_order_relaxed)) [[unlikely]] bide_wake_at(lock, count);
}

inline bool is_later(const timespec& a, const timespec& b) noexcept {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

// Where time jumps from nap to nap, an hour isn't to be made of milliseconds.
inline std::int64_t longest_nap() noexcept { return base::shown_time() ? 60 * base::second : base::second / 1000; }

// Until `attempt` answers anything but EBUSY or, with a limit, ETIMEDOUT. On a fiber.
template <class Attempt>
int until_free(const void* lock, const char* what, Attempt attempt, clockid_t clock = CLOCK_MONOTONIC,
               const timespec* limit = nullptr) noexcept {
  struct last_try {
    Attempt& attempt;
    int answer;
  } mine{attempt, attempt()};
  if (mine.answer != EBUSY) return mine.answer;
  if (limit && (limit->tv_nsec < 0 || limit->tv_nsec >= 1'000'000'000)) return EINVAL;
  // It may be wanted while the fiber unwinds, so a cancel waits, and so does a deadline around it.
  const detail::shield_scope kept_off;
  for (std::int64_t nap = 20'000; mine.answer == EBUSY; nap = std::min(2 * nap, longest_nap())) {
    timespec until;
    clock_gettime(clock, &until);
    if (limit && !is_later(*limit, until)) return ETIMEDOUT;
    const timespec length = base::to_timespec(nap);
    until.tv_sec += length.tv_sec;
    until.tv_nsec += length.tv_nsec;
    if (until.tv_nsec >= 1'000'000'000) ++until.tv_sec, until.tv_nsec -= 1'000'000'000;
    if (limit && is_later(until, *limit)) until = *limit;
    lock_waiters.fetch_add(1);
    bide_wait_at(lock, [](void* p) {
      auto& t = *static_cast<last_try*>(p);
      return (t.answer = t.attempt()) != EBUSY ? 1 : 0;
    }, &mine, clock, &until, what);
    lock_waiters.fetch_sub(1);
    if (mine.answer == EBUSY) mine.answer = attempt();
  }
  return mine.answer;
}

// Holds a lock for a few instructions, without a call but to give the processor to its holder.
class list_guard {
 public:
  explicit list_guard(std::atomic<std::uint32_t>& word) noexcept : word_(word) {
    // exchange acquires what the destructor's store released.
    while (word_.exchange(1, std::memory_order_acquire) != 0) raw(SYS_sched_yield);
  }
  ~list_guard() { word_.store(0, std::memory_order_release); }
  list_guard(const list_guard&) = delete;

 private:
  std::atomic<std::uint32_t>& word_;
};

}  // namespace bide::door
