#include <bide/barrier.hpp>

#include "lib/base/assert.hpp"
#include "lib/sync/wait_list.hpp"

namespace bide {

barrier::barrier(std::ptrdiff_t expected) : expected_(expected) {
  BIDE_ASSERT(expected > 0, "a barrier expects at least one");
}

// The lock must be held.
void barrier::meet_if_all() noexcept {
  if (arrived_ < expected_) return;
  expected_ -= dropped_;
  arrived_ = dropped_ = 0;
  ++meetings_;
  while (sync::wake_first(waiters_)) {
  }
}

std::ptrdiff_t barrier::arrive_and_wait() {
  base::spin_lock(waiters_.lock);
  const std::ptrdiff_t before = arrived_++;
  const unsigned long meeting = meetings_;
  meet_if_all();
  if (meetings_ != meeting) {
    base::spin_unlock(waiters_.lock);
    return before;
  }
  const wait_result how = sync::park_on(waiters_, {"a barrier"}, base::never, core::cancel_point::yes);
  if (how == wait_result::ready) return before;
  {
    const base::spin_guard guard(waiters_.lock);
    if (meetings_ == meeting) {
      --arrived_;
    } else {
      // All met before it had its turn: it was one of them, and a cancel is the next wait's.
      if (how == wait_result::cancelled) core::keep_cancel(*core::this_fiber());
      return before;
    }
  }
  detail::throw_ended(how);
}

void barrier::arrive_and_drop() {
  const base::spin_guard guard(waiters_.lock);
  ++arrived_;
  ++dropped_;
  meet_if_all();
}

}  // namespace bide
