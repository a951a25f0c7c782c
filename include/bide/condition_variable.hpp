/// Waiting for a condition that another fiber or thread makes true.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

namespace bide {

/// A condition variable for fibers of any worker and for plain threads, with any *BasicLockable*.
///
/// Parks:    wait() until notified; on a plain thread, blocks the thread. The lock is held again on every return and
///           throw. A wait can end for nothing: test the condition, or pass it.
class condition_variable {
 public:
  condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  /// Wakes the longest waiter, if there is one. Never parks.
  BIDE_API void notify_one() noexcept;
  /// Wakes everyone who waits now. Never parks.
  BIDE_API void notify_all() noexcept;

  /// Errors:   throws `cancelled` or `timed_out`.
  template <class Lock>
  void wait(Lock& lock) {
    detail::must_be_ready(wait_until(lock, deadline::never()));
  }
  template <class Lock, class Predicate>
  void wait(Lock& lock, Predicate ready) {
    while (!ready()) wait(lock);
  }

  /// Returns:  ready when notified, expired, cancelled or timed_out.
  template <class Lock>
  [[nodiscard]] wait_result wait_until(Lock& lock, deadline until) {
    return wait_erased(&lock, [](void* l) { static_cast<Lock*>(l)->unlock(); },
                       [](void* l) { static_cast<Lock*>(l)->lock(); }, until);
  }
  /// Returns:  ready when the condition holds, also at the deadline; else how the wait ended. A cancel is always told.
  template <class Lock, class Predicate>
  [[nodiscard]] wait_result wait_until(Lock& lock, deadline until, Predicate ready) {
    while (!ready()) {
      const wait_result how = wait_until(lock, until);
      if (how != wait_result::ready) return how != wait_result::cancelled && ready() ? wait_result::ready : how;
    }
    return wait_result::ready;
  }

 private:
  BIDE_API wait_result wait_erased(void* lock, void (*unlock)(void*), void (*relock)(void*), deadline);

  detail::wait_list waiters_;
};

}  // namespace bide
