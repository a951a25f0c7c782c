// Those who wait for one thing, in order of arrival: what the locks share. Any thread.
//
// A waker takes a node off and wakes it; whoever's wait ended otherwise takes its own node off. Both under the list's
// lock, so a node that is off the list has been served, whatever else happened to its wait.
#pragma once

#include <bide/detail/wait_list.hpp>

#include "lib/base/spin.hpp"
#include "lib/fiber/park.hpp"

namespace bide::core {

struct wait_node {
  wait_node() noexcept = default;
  explicit wait_node(waiter& w) noexcept : who(&w) {}
  waiter* who = nullptr;  // guarded by the list's lock; null: enlisted, and not waiting yet
  wait_node* next = nullptr;
  wait_node* previous = nullptr;
  bool on = false;  // guarded by the list's lock
};

}  // namespace bide::core

namespace bide::sync {

using core::wait_node;
using detail::wait_list;

// The lock must be held.
void push_back(wait_list&, wait_node&) noexcept;
void take_off(wait_list&, wait_node&) noexcept;

// Wakes the longest waiter whose wait has not ended otherwise. Returns whether there was one. The lock must be held.
bool wake_first(wait_list&) noexcept;

// After a wait: takes the node off if it is still on. After one that was served, waits until the waker has let the lock
// go, so that the served one may destroy what the list is part of.
void leave(wait_list&, wait_node&, wait_result how) noexcept;

// Parks until woken through the list, which the caller has locked and checked; unlocks it. On any other end than ready
// the node is off the list again; a node that a waker took off in the same moment counts as ready.
wait_result park_on(wait_list&, core::wait_reason, std::int64_t until, core::cancel_point) noexcept;

}  // namespace bide::sync
