#include "lib/sync/wait_list.hpp"

#include "lib/base/race.hpp"

namespace bide::sync {

void push_back(wait_list& l, wait_node& n) noexcept {
  n.on = true;
  n.next = nullptr;
  n.previous = l.tail;
  base::race_point();
  (l.tail ? l.tail->next : l.head) = &n;
  l.tail = &n;
}

void take_off(wait_list& l, wait_node& n) noexcept {
  n.on = false;
  (n.previous ? n.previous->next : l.head) = n.next;
  base::race_point();
  (n.next ? n.next->previous : l.tail) = n.previous;
}

bool wake_first(wait_list& l) noexcept {
  while (wait_node* n = l.head) {
    take_off(l, *n);
    if (!n->who || core::wake(*n->who, wait_result::ready)) return true;
  }
  return false;
}

void leave(wait_list& l, wait_node& n, wait_result how) noexcept {
  if (how == wait_result::ready) return base::spin_pass(l.lock);
  base::spin_guard guard(l.lock);
  if (n.on) take_off(l, n);
}

wait_result park_on(wait_list& l, core::wait_reason why, std::int64_t until, core::cancel_point point) noexcept {
  core::waiter w(core::waiter::reach::anyone);
  wait_node n(w);
  push_back(l, n);
  base::spin_unlock(l.lock);
  const wait_result how = core::park(w, why, until, point);
  leave(l, n, how);
  return how;
}

}  // namespace bide::sync
