// Watching several tasks. Each has a place in the task's list of watchers; whoever ends the task puts the place into the
// set's queue, under the task's lock and then the set's, and wakes the one who waits. The places leave the lists under
// each task's lock, so nobody comes for a set that is gone.
#include <bide/detail/task_set.hpp>

#include <errno.h>

#include <bide/shield.hpp>

#include "lib/base/spin.hpp"
#include "lib/fiber/park.hpp"
#include "lib/task/error.hpp"

namespace bide::detail {

task_set::~task_set() {
  for (std::size_t i = 0; i < count_; ++i) {
    member& m = members_[i];
    const base::spin_guard guard(m.its->lock);
    if (!m.on) continue;
    (m.previous ? m.previous->next : m.its->watchers) = m.next;
    if (m.next) m.next->previous = m.previous;
  }
}

void task_set::add(fiber* who, frame* its, bool may_cancel) {
  if (!its) task_layer::fail(EINVAL, "a wait for several tasks: the handle at place " + std::to_string(count_) + " is empty");
  member& m = members_[count_++];
  m.set = this;
  m.who = who;
  m.its = its;
  m.may_cancel = may_cancel;
  m.own_step = core::waits_for_own_steps(*who);
  own_steps_ += m.own_step;
  m.ended = [](watch& w) noexcept { static_cast<member&>(w).set->ended(static_cast<member&>(w)); };
  const base::spin_guard guard(its->lock);
  if (its->ended()) return ended(m);
  m.on = true;
  m.next = its->watchers;
  if (m.next) m.next->previous = &m;
  its->watchers = &m;
}

void task_set::ended(member& m) noexcept {
  const base::spin_guard guard(lock_);
  (first_ ? last_->later : first_) = &m;
  last_ = &m;
  if (waiting_) core::wake(*waiting_, wait_result::ready);
  waiting_ = nullptr;
}

task_set::member* task_set::take() {
  member* m = first_;
  if (m) {
    first_ = m->later;
    ++taken_;
    own_steps_ -= m->own_step;
  }
  return m;
}

task_set::member* task_set::wait() {
  if (taken_ == count_) task_layer::fail(EINVAL, "a wait for the first of several tasks: there is none left");
  for (;;) {
    core::waiter w(core::waiter::reach::anyone);
    {
      const base::spin_guard guard(lock_);
      if (member* m = take()) return m;
      if (!stuck()) waiting_ = &w;
    }
    if (stuck())
      task_layer::fail(EDEADLK, "a wait for several tasks that go on only by runtime::poll() on this thread, which waits");
    const wait_result how = core::park(w, {"several tasks"}, base::never, core::cancel_point::yes);
    const base::spin_guard guard(lock_);
    waiting_ = nullptr;
    if (member* m = take()) {
      // One that ended between the cancel and our turn is not lost, nor is the cancel: the next wait has it.
      if (how == wait_result::cancelled) core::keep_cancel(*w.who);
      return m;
    }
    if (how != wait_result::ready) throw_ended(how);
  }
}

std::size_t task_set::wait_for_next() { return static_cast<std::size_t>(wait() - members_.get()); }

void task_set::wait_for_all() {
  const member* failed = nullptr;
  try {
    while (taken_ < count_ && !failed) {
      const member* m = wait();
      if (m->its->state.load(std::memory_order_relaxed) != task_state::done) failed = m;
    }
  } catch (...) {
    if (stuck()) throw;  // nothing ended this wait: it can't be
    shield([&] {
      for (std::size_t i = 0; i < count_; ++i) {
        if (members_[i].may_cancel && !members_[i].its->ended()) cancel_fiber(members_[i].who);
      }
      for (std::size_t i = 0; i < count_; ++i) {
        if (members_[i].may_cancel) (void)join_fiber(members_[i].who, members_[i].its, deadline::never());
      }
    });
    throw;
  }
  if (!failed) return;
  if (std::exception_ptr error = failed->its->look(*failed->its)) std::rethrow_exception(std::move(error));
  throw cancelled{};
}

}  // namespace bide::detail
