/// Mutual exclusion that parks.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

#include <sys/single_threaded.h>

namespace bide {

/// A mutex for fibers of any worker and for plain threads; meets *TimedMutex*, so std::unique_lock and kin take it.
///
/// Unlocking hands it to the longest waiter, so nobody overtakes. It is not recursive.
/// Parks:    lock() until it is free; on a plain thread, blocks the thread. Not a point of cancellation, but a
///           bide::timeout around it reaches it, unless an exception is on its way: destructors may lock.
class mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  /// Errors:   std::system_error EDEADLK if every fiber is parked and nothing could ever unlock it; `timed_out`.
  void lock() {
    if (!try_lock()) detail::must_be_ready(lock_slow(deadline::never()));
  }
  bool try_lock() noexcept {
    return replace(0, 1);
  }
  /// Returns:  ready with the mutex held; expired or timed_out without.
  [[nodiscard]] wait_result lock_until(deadline until) {
    return try_lock() ? wait_result::ready : lock_slow(until);
  }
  /// As std::timed_mutex: tells whether it is held now.
  ///
  /// Errors:   as lock().
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> length) {
    return detail::came_in_time(lock_until(deadline::after(length)));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> at) {
    return detail::came_in_time(lock_until(deadline::at(at)));
  }
  /// Must:     be held, by anyone.
  void unlock() noexcept {
    if (!replace(1, 0)) unlock_slow();
  }

 private:
  BIDE_API wait_result lock_slow(deadline);
  BIDE_API void unlock_slow() noexcept;

  // In a process of one thread nobody can see that it takes two steps: glibc's <sys/single_threaded.h>.
  bool replace(std::uint32_t expected, std::uint32_t desired) noexcept {
    if (__libc_single_threaded) {
      if (state_.load(std::memory_order_relaxed) != expected) return false;
      state_.store(desired, std::memory_order_relaxed);
      return true;
    }
    return state_.compare_exchange_strong(expected, desired, std::memory_order_acq_rel, std::memory_order_relaxed);
  }

  std::atomic<std::uint32_t> state_{0};  // 0 free, 1 held, 2 held and somebody waits
  detail::wait_list waiters_;
};

/// A mutex for the fibers of one worker: as mutex, without the cost of other threads.
///
/// Threads:  fibers of one worker only; any other use is a data race.
class local_mutex {
 public:
  constexpr local_mutex() noexcept = default;
  local_mutex(const local_mutex&) = delete;
  local_mutex& operator=(const local_mutex&) = delete;

  void lock() {
    if (held_)
      lock_slow();
    else
      held_ = true;
  }
  bool try_lock() noexcept { return held_ ? false : (held_ = true); }
  void unlock() noexcept {
    if (waiters_.head)
      unlock_slow();
    else
      held_ = false;
  }

 private:
  BIDE_API void lock_slow();
  BIDE_API void unlock_slow() noexcept;

  bool held_ = false;
  detail::wait_list waiters_;
};

}  // namespace bide
