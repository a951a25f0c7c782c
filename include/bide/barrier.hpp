/// Meeting before going on.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/wait.hpp>

#include <cstddef>

namespace bide {

/// asyncio.Barrier, and std::barrier without a completion function: who arrives waits until so many have.
///
/// Threads:  any, fibers of any worker and plain threads.
class barrier {
 public:
  /// Must:     be at least one that is expected; less is a broken invariant and aborts.
  BIDE_API explicit barrier(std::ptrdiff_t expected);
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;

  /// Waits until the last one has arrived. It may be met at again at once.
  ///
  /// Parks:    until then; on a plain thread, blocks the thread.
  /// Returns:  how many had arrived before, from 0: one of them is the first.
  /// Errors:   throws `cancelled` or `timed_out`; it has not arrived then.
  BIDE_API std::ptrdiff_t arrive_and_wait();

  /// Arrives and will not be expected at the next meetings. Never parks.
  BIDE_API void arrive_and_drop();

 private:
  void meet_if_all() noexcept;

  std::ptrdiff_t expected_;       // guarded by waiters_.lock
  std::ptrdiff_t arrived_ = 0;    // guarded by waiters_.lock
  std::ptrdiff_t dropped_ = 0;    // guarded by waiters_.lock: arrived and gone
  unsigned long meetings_ = 0;    // guarded by waiters_.lock
  detail::wait_list waiters_;
};

}  // namespace bide
