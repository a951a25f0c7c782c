/// A flag that one can wait for.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

namespace bide {

/// asyncio.Event and threading.Event: those who wait go on when it is set, all of them.
///
/// Threads:  any, fibers of any worker and plain threads.
class event {
 public:
  event() noexcept = default;
  event(const event&) = delete;
  event& operator=(const event&) = delete;

  /// Sets it and wakes everyone who waits. Never parks.
  BIDE_API void set() noexcept;
  /// Those who wait from now on wait for the next set().
  BIDE_API void clear() noexcept;
  BIDE_API bool is_set() const noexcept;

  /// Waits until it is set.
  ///
  /// Parks:    until then; on a plain thread, blocks the thread.
  /// Errors:   throws `cancelled` or `timed_out`.
  void wait() { detail::must_be_ready(wait_until(deadline::never())); }
  /// Returns:  ready when it was set, even if it is cleared by now; expired, cancelled or timed_out.
  [[nodiscard]] BIDE_API wait_result wait_until(deadline until);

 private:
  mutable detail::wait_list waiters_;
  bool set_ = false;  // guarded by waiters_.lock
};

}  // namespace bide
