#include <bide/event.hpp>

#include "lib/sync/wait_list.hpp"

namespace bide {

void event::set() noexcept {
  const base::spin_guard guard(waiters_.lock);
  set_ = true;
  while (sync::wake_first(waiters_)) {
  }
}

void event::clear() noexcept {
  const base::spin_guard guard(waiters_.lock);
  set_ = false;
}

bool event::is_set() const noexcept {
  const base::spin_guard guard(waiters_.lock);
  return set_;
}

wait_result event::wait_until(deadline until) {
  base::spin_lock(waiters_.lock);
  if (set_) {
    base::spin_unlock(waiters_.lock);
    return wait_result::ready;
  }
  return sync::park_on(waiters_, {"an event"}, until.ns(), core::cancel_point::yes);
}

}  // namespace bide
