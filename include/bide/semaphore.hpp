/// Counting permits.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

#include <chrono>
#include <cstddef>

namespace bide {

/// A counting semaphore for fibers of any worker and for plain threads.
class semaphore {
 public:
  explicit semaphore(std::ptrdiff_t permits = 0) noexcept : permits_(permits) {}
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;

  /// Takes one permit, waiting for a release if none is free.
  ///
  /// Parks:    until a permit or a cancel arrives; on a plain thread, blocks the thread.
  /// Threads:  any. Waiters are served in order of arrival, across workers.
  /// Errors:   throws `cancelled` or `timed_out` with nothing taken.
  void acquire() {
    detail::must_be_ready(acquire_until(deadline::never()));
  }

  /// Takes one permit, waiting at most until the deadline.
  ///
  /// Time:     monotonic; a deadline already past still takes a free permit.
  /// Returns:  ready with the permit taken; expired, cancelled or timed_out with nothing taken.
  [[nodiscard]] BIDE_API wait_result acquire_until(deadline until);

  /// As std::counting_semaphore: tell whether a permit was taken in time.
  ///
  /// Errors:   as acquire().
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(std::chrono::duration<Rep, Period> length) {
    return detail::came_in_time(acquire_until(deadline::after(length)));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(std::chrono::time_point<Clock, Duration> at) {
    return detail::came_in_time(acquire_until(deadline::at(at)));
  }

  /// Takes one permit if one is free. Never parks.
  [[nodiscard]] BIDE_API bool try_acquire() noexcept;

  /// Gives back `n` permits. Never parks.
  BIDE_API void release(std::ptrdiff_t n = 1) noexcept;

 private:
  std::ptrdiff_t permits_;  // guarded by waiters_.lock
  detail::wait_list waiters_;
};

/// Holds one permit of a semaphore while it lives: `async with semaphore`.
///
///     const bide::permit held(connections);
class permit {
 public:
  /// Parks, Errors: as semaphore::acquire().
  explicit permit(semaphore& from) : from_(from) { from_.acquire(); }
  ~permit() { from_.release(); }
  permit(const permit&) = delete;
  permit& operator=(const permit&) = delete;

 private:
  semaphore& from_;
};

}  // namespace bide
