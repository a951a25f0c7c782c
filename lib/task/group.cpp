// A group's children are linked through their frames. A child takes itself off as the last thing its fiber does for the
// task, so whoever finds it on the list under the lock may ask its fiber to end.
#include <bide/group.hpp>

#include <errno.h>

#include <bide/fiber_local.hpp>
#include <bide/shield.hpp>
#include <bide/timeout.hpp>

#include <mutex>

#include "lib/fiber/park.hpp"
#include "lib/task/error.hpp"
#include "lib/task/locals.hpp"

namespace bide {
namespace {

fiber_local<std::vector<std::exception_ptr>>& others() {
  // Never destroyed: fibers may end as late as the process.
  static auto& the = *new fiber_local<std::vector<std::exception_ptr>>;
  return the;
}

}  // namespace

std::vector<std::exception_ptr> other_failures() {
  auto* mine = others().get_if();
  return mine ? *mine : std::vector<std::exception_ptr>{};
}

namespace detail {

group_core::group_core(group_options how) {
  if (how.max_concurrency) permits.emplace(static_cast<std::ptrdiff_t>(how.max_concurrency));
}

void group_core::check_open() {
  const shield_scope kept_off;
  const std::lock_guard guard(lock_);
  if (!failures_.empty()) {
    said_ = true;
    std::rethrow_exception(failures_.front());
  }
  if (cancelled_) task_layer::fail(ECANCELED, "group::spawn(): the group was cancelled");
}

void group_core::enroll(fiber* f, frame& child) {
  const shield_scope kept_off;
  const std::lock_guard guard(lock_);
  child.group = this;
  child.next = children_;
  if (children_) children_->previous = &child;
  children_ = &child;
  ++live_;
  start_fiber(f, &child);  // within the lock: who cancels the children finds each at home
  if (cancelled_) cancel_fiber(f);
}

void group_core::left(frame& child, task_state how) noexcept {
  // Of a group within.
  const auto besides = how == task_state::failed ? other_failures() : std::vector<std::exception_ptr>{};
  task_layer::destroy_locals(*core::this_fiber());
  {
    const shield_scope kept_off;
    const std::lock_guard guard(lock_);
    (child.previous ? child.previous->next : children_) = child.next;
    if (child.next) child.next->previous = child.previous;
    if (how == task_state::failed) {
      fail(child.look(child));
      failures_.insert(failures_.end(), besides.begin(), besides.end());
    }
    if (--live_ == 0) empty_.notify_all();
  }
  core::settle_requests();
}

void group_core::fail(std::exception_ptr error) noexcept {
  failures_.push_back(std::move(error));
  if (cancelled_) return;
  cancel_locked();
  if (!body_) return;
  core::run_at(*owner_->home, [](core::worker_core&, void* p) noexcept {
    auto& self = *static_cast<group_core*>(p);
    core::end_scope(*self.owner_, *self.body_);
  }, this);
}

void group_core::cancel_locked() noexcept {
  cancelled_ = true;
  for (frame* f = children_; f; f = f->next) cancel_fiber(f->who);
}

void group_core::cancel() noexcept {
  const shield_scope kept_off;
  const std::lock_guard guard(lock_);
  if (!cancelled_) cancel_locked();
}

void group_core::wait(bool cancelled_before) {
  std::exception_ptr ended;  // from outside
  // The fiber's last cancelled wait was one of the block's, until it waits here.
  bool take_back = cancelled_before && !core::this_fiber()->ended_by_scope;
  try {
    std::unique_lock lock(lock_);
    empty_.wait(lock, [&] { return live_ == 0; });
  } catch (...) {
    ended = std::current_exception();
    cancel();
    const shield_scope kept_off;
    std::unique_lock lock(lock_);
    empty_.wait(lock, [&] { return live_ == 0; });
  }
  const std::lock_guard guard(lock_);
  cancelled_ = said_ = false;
  if (failures_.empty()) {
    if (ended) std::rethrow_exception(std::move(ended));
    return;
  }
  const std::exception_ptr first = failures_.front();
  failures_.erase(failures_.begin());
  others().get() = std::move(failures_);
  failures_.clear();
  // The failure goes first; a cancel of the caller is not lost by that.
  if (ended) {
    try {
      std::rethrow_exception(std::move(ended));
    } catch (const cancelled&) {
      take_back = take_back || !core::this_fiber()->ended_by_scope;
    } catch (...) {
    }
  }
  if (take_back) core::this_fiber()->cancel_pending = true;
  std::rethrow_exception(first);
}

void group_core::abandon() noexcept {
  {
    const shield_scope kept_off;
    std::unique_lock lock(lock_);
    if (live_ && !cancelled_) cancel_locked();
    empty_.wait(lock, [&] { return live_ == 0; });
  }
  for (std::size_t i = said_ ? 1 : 0; i < failures_.size(); ++i) report_callback(failures_[i], "a child of a group");
  failures_.clear();
}

std::size_t group_core::size() {
  const std::lock_guard guard(lock_);
  return live_;
}

std::vector<std::exception_ptr> group_core::failures() {
  const std::lock_guard guard(lock_);
  return failures_;
}

void group_core::set_body(scope* s) {
  if (s) enter_scope(*s);
  const shield_scope kept_off;
  const std::lock_guard guard(lock_);
  if (!s) core::leave(*owner_, *body_);
  body_ = s;
  owner_ = core::this_fiber();
}

}  // namespace detail
}  // namespace bide
