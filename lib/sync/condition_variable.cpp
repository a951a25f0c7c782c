#include <bide/condition_variable.hpp>

#include "lib/sync/wait_list.hpp"

namespace bide {

wait_result condition_variable::wait_erased(void* lock, void (*unlock)(void*), void (*relock)(void*), deadline until) {
  core::waiter w(core::waiter::reach::anyone);
  core::wait_node n;
  {
    const base::spin_guard guard(waiters_.lock);
    sync::push_back(waiters_, n);
  }
  // Enlisted before the lock is let go: a notify that follows finds us. And not waiting yet: letting it go may park, and a
  // fiber is in reach of one waker at a time.
  unlock(lock);
  bool notified;
  {
    const base::spin_guard guard(waiters_.lock);
    notified = !n.on;
    n.who = &w;
  }
  const wait_result how =
      notified ? wait_result::ready
               : core::park(w, {"a condition variable"}, until.ns(), core::cancel_point::yes);
  sync::leave(waiters_, n, how);
  // The lock is held again whatever a scope's deadline says.
  const core::shield from_scopes;
  relock(lock);
  return how;
}

void condition_variable::notify_one() noexcept {
  const base::spin_guard guard(waiters_.lock);
  sync::wake_first(waiters_);
}

void condition_variable::notify_all() noexcept {
  const base::spin_guard guard(waiters_.lock);
  while (sync::wake_first(waiters_)) {
  }
}

}  // namespace bide
