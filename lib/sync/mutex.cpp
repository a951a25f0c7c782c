#include <bide/mutex.hpp>

#include <exception>
#include <system_error>

#include "lib/sync/wait_list.hpp"

namespace bide {
namespace {

[[noreturn]] void throw_stuck() {
  throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                          "bide: a mutex that nobody is left to unlock");
}

}  // namespace

// state_ goes to 2 under the list's lock only, and an unlock that finds 2 takes that lock: so a waiter that has set 2
// and enlisted is seen.
wait_result mutex::lock_slow(deadline until) {
  base::spin_lock(waiters_.lock);
  if (state_.exchange(2, std::memory_order_acquire) == 0) {
    if (!waiters_.head) state_.store(1, std::memory_order_relaxed);
    base::spin_unlock(waiters_.lock);
    return wait_result::ready;
  }
  const auto point = std::uncaught_exceptions() ? core::cancel_point::if_stuck : core::cancel_point::if_late;
  const wait_result how = sync::park_on(waiters_, {"a mutex"}, until.ns(), point);
  if (how != wait_result::ready) {
    // The last waiter gone: the next unlock need not look for one.
    const base::spin_guard guard(waiters_.lock);
    std::uint32_t waited_for = 2;
    if (!waiters_.head) state_.compare_exchange_strong(waited_for, 1, std::memory_order_relaxed);
  }
  if (how == wait_result::cancelled) throw_stuck();
  return how;
}

void mutex::unlock_slow() noexcept {
  const base::spin_guard guard(waiters_.lock);
  if (!sync::wake_first(waiters_))
    state_.store(0, std::memory_order_release);
  else if (!waiters_.head)
    state_.store(1, std::memory_order_relaxed);  // the woken one holds it, and nobody else waits
}

void local_mutex::lock_slow() {
  core::waiter w(core::waiter::reach::home);
  core::wait_node n(w);
  sync::push_back(waiters_, n);
  if (core::park(w, {"a mutex"}, base::never, core::cancel_point::if_stuck) == wait_result::ready) return;
  if (n.on) sync::take_off(waiters_, n);
  throw_stuck();
}

void local_mutex::unlock_slow() noexcept {
  if (!sync::wake_first(waiters_)) held_ = false;
}

}  // namespace bide
