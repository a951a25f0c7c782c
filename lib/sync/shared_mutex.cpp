#include <bide/shared_mutex.hpp>

#include <exception>

#include "lib/sync/wait_list.hpp"

namespace bide {

struct shared_mutex::place : core::wait_node {
  place(core::waiter& w, kind k) noexcept : wait_node(w), as(k) {}
  const kind as;
};

// The lock must be held.
bool shared_mutex::try_as(kind k) noexcept {
  if (writer_ || waiters_.head || (k == exclusive && readers_)) return false;
  if (k == exclusive)
    writer_ = true;
  else
    ++readers_;
  return true;
}

// Hands it to those at the head of the list who may have it now. The lock must be held.
void shared_mutex::grant() noexcept {
  while (auto* first = static_cast<place*>(waiters_.head)) {
    if (writer_ || (first->as == exclusive && readers_)) return;
    const kind as = first->as;  // read first: the place is gone once its owner runs
    sync::take_off(waiters_, *first);
    if (!core::wake(*first->who, wait_result::ready)) continue;
    if (as == exclusive)
      writer_ = true;
    else
      ++readers_;
  }
}

wait_result shared_mutex::lock_as(kind k, deadline until) {
  base::spin_lock(waiters_.lock);
  if (try_as(k)) {
    base::spin_unlock(waiters_.lock);
    return wait_result::ready;
  }
  core::waiter w(core::waiter::reach::anyone);
  place mine(w, k);
  sync::push_back(waiters_, mine);
  base::spin_unlock(waiters_.lock);
  // A destructor may lock while an exception is on its way: see mutex.
  const auto point = std::uncaught_exceptions() ? core::cancel_point::if_stuck : core::cancel_point::if_late;
  const wait_result how = core::park(w, {k == exclusive ? "a shared_mutex" : "a share of a shared_mutex"}, until.ns(), point);
  if (how == wait_result::ready) {
    base::spin_pass(waiters_.lock);
    return how;
  }
  const base::spin_guard guard(waiters_.lock);
  if (mine.on) sync::take_off(waiters_, mine);
  grant();  // those behind may go in what this one could not
  return how;
}

void shared_mutex::must_hold(wait_result how) {
  if (how == wait_result::cancelled)
    throw std::system_error(EDEADLK, std::generic_category(), "bide: a shared_mutex that nobody is left to unlock");
  detail::must_be_ready(how);
}

bool shared_mutex::try_lock() noexcept {
  const base::spin_guard guard(waiters_.lock);
  return try_as(exclusive);
}

bool shared_mutex::try_lock_shared() noexcept {
  const base::spin_guard guard(waiters_.lock);
  return try_as(shared);
}

void shared_mutex::unlock() noexcept {
  const base::spin_guard guard(waiters_.lock);
  writer_ = false;
  grant();
}

void shared_mutex::unlock_shared() noexcept {
  const base::spin_guard guard(waiters_.lock);
  --readers_;
  grant();
}

}  // namespace bide
