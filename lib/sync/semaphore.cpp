#include <bide/semaphore.hpp>

#include "lib/sync/wait_list.hpp"

namespace bide {

wait_result semaphore::acquire_until(deadline until) {
  base::spin_lock(waiters_.lock);
  if (permits_ > 0) {
    --permits_;
    base::spin_unlock(waiters_.lock);
    return wait_result::ready;
  }
  // A release hands its permit to the waiter it wakes, so a newcomer can't take it first.
  return sync::park_on(waiters_, {"a semaphore"}, until.ns(), core::cancel_point::yes);
}

bool semaphore::try_acquire() noexcept {
  const base::spin_guard guard(waiters_.lock);
  if (permits_ <= 0) return false;
  --permits_;
  return true;
}

void semaphore::release(std::ptrdiff_t n) noexcept {
  const base::spin_guard guard(waiters_.lock);
  while (n > 0 && sync::wake_first(waiters_)) --n;
  permits_ += n;
}

}  // namespace bide
