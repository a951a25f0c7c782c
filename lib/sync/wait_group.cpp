#include <bide/wait_group.hpp>

#include "lib/base/assert.hpp"
#include "lib/sync/wait_list.hpp"

namespace bide {

void wait_group::add(std::ptrdiff_t n) noexcept {
  const base::spin_guard guard(waiters_.lock);
  count_ += n;
}

void wait_group::done(std::ptrdiff_t n) noexcept {
  const base::spin_guard guard(waiters_.lock);
  count_ -= n;
  BIDE_ASSERT(count_ >= 0, "wait_group::done was called more often than add");
  if (count_ > 0) return;
  while (sync::wake_first(waiters_)) {
  }
}

wait_result wait_group::wait_until(deadline until) {
  base::spin_lock(waiters_.lock);
  if (count_ == 0) {
    base::spin_unlock(waiters_.lock);
    return wait_result::ready;
  }
  return sync::park_on(waiters_, {"a wait_group"}, until.ns(), core::cancel_point::yes);
}

}  // namespace bide
