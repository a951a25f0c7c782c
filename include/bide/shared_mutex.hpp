/// Many readers or one writer.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

#include <cstddef>

namespace bide {

/// A mutex that several may share; meets *SharedMutex*, so std::unique_lock and std::shared_lock take it.
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
