/// Waiting until a number of things are done.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

#include <cstddef>

namespace bide {

/// A count that waiters see reach zero: Go's WaitGroup, and std::latch where it only goes down.
///
/// Threads:  any, fibers of any worker and plain threads.
class wait_group {
 public:
  explicit wait_group(std::ptrdiff_t expected = 0) noexcept : count_(expected) {}
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;

  /// Expects `n` more. Never parks.
  BIDE_API void add(std::ptrdiff_t n = 1) noexcept;

  /// Counts `n` as done; at zero everyone who waits is woken. Below zero is a broken invariant and aborts.
  BIDE_API void done(std::ptrdiff_t n = 1) noexcept;

  /// Waits until the count is zero.
  ///
  /// Parks:    until then; on a plain thread, blocks the thread.
  /// Errors:   throws `cancelled` or `timed_out`.
  void wait() {
    detail::must_be_ready(wait_until(deadline::never()));
  }

  /// Returns:  ready at zero; expired, cancelled or timed_out before.
  [[nodiscard]] BIDE_API wait_result wait_until(deadline until);

 private:
  std::ptrdiff_t count_;  // guarded by waiters_.lock
  detail::wait_list waiters_;
};

}  // namespace bide
