/// Many readers or one writer.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

#include <chrono>
#include <cstddef>

namespace bide {

/// A mutex that several may share; meets *SharedTimedMutex*, so std::unique_lock and std::shared_lock take it.
///
/// Served in order of arrival: a writer that waits lets no later reader pass, nor the other way round.
/// Parks:    lock() and lock_shared(), as mutex::lock(); on a plain thread, block the thread.
/// Threads:  any, fibers of any worker and plain threads.
class shared_mutex {
 public:
  shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  /// Errors:   `timed_out`; std::system_error EDEADLK, as mutex::lock().
  void lock() { must_hold(lock_as(exclusive, deadline::never())); }
  void lock_shared() { must_hold(lock_as(shared, deadline::never())); }
  BIDE_API bool try_lock() noexcept;
  BIDE_API bool try_lock_shared() noexcept;
  /// Returns:  ready with it held; expired or timed_out without.
  [[nodiscard]] wait_result lock_until(deadline until) { return lock_as(exclusive, until); }
  [[nodiscard]] wait_result lock_shared_until(deadline until) { return lock_as(shared, until); }
  /// As std::shared_timed_mutex: tell whether it is held now.
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
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(std::chrono::duration<Rep, Period> length) {
    return detail::came_in_time(lock_shared_until(deadline::after(length)));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(std::chrono::time_point<Clock, Duration> at) {
    return detail::came_in_time(lock_shared_until(deadline::at(at)));
  }
  BIDE_API void unlock() noexcept;
  BIDE_API void unlock_shared() noexcept;

 private:
  enum kind : bool { shared, exclusive };
  struct place;
  BIDE_API wait_result lock_as(kind, deadline);
  BIDE_API static void must_hold(wait_result);
  bool try_as(kind) noexcept;
  void grant() noexcept;

  std::ptrdiff_t readers_ = 0;  // guarded by waiters_.lock
  bool writer_ = false;         // guarded by waiters_.lock
  detail::wait_list waiters_;
};

}  // namespace bide
