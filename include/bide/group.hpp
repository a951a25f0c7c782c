/// Fibers whose lives are a block of code: structured concurrency.
#pragma once

#include <bide/condition_variable.hpp>
#include <bide/detail/scope.hpp>
#include <bide/mutex.hpp>
#include <bide/semaphore.hpp>
#include <bide/task.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <vector>

namespace bide {

class group;

struct group_options {
  /// Children that run at the same time; the others wait for their turn. 0: no limit.
  std::size_t max_concurrency = 0;
};

namespace detail {

/// What a group knows of its children.
class group_core {
 public:
  BIDE_API explicit group_core(group_options how);
  group_core(const group_core&) = delete;

  /// Throws the first failure, or std::system_error ECANCELED, when the group is over.
  BIDE_API void check_open();
  BIDE_API void enroll(fiber*, frame&);
  BIDE_API void left(frame&, task_state) noexcept;
  BIDE_API void cancel() noexcept;
  /// Waits for all, cancelling them if the wait is ended from outside; throws the first failure, or what ended the wait.
  /// A cancel of the caller that a failure is thrown in place of is kept for its next wait, also one `before`.
  BIDE_API void wait(bool cancelled_before = false);
  /// The same after an exception that is on its way: cancels them, and reports what they throw.
  BIDE_API void abandon() noexcept;
  BIDE_API std::size_t size();
  BIDE_API std::vector<std::exception_ptr> failures();
  /// From now on the first failure ends the waits within `s`, of the calling fiber; null: no more.
  BIDE_API void set_body(scope* s);

  std::optional<semaphore> permits;

 private:
  void cancel_locked() noexcept;
  void fail(std::exception_ptr) noexcept;

  mutex lock_;
  condition_variable empty_;
  frame* children_ = nullptr;              // guarded by lock_
  std::size_t live_ = 0;                   // guarded by lock_
  bool cancelled_ = false;                 // guarded by lock_
  bool said_ = false;                      // guarded by lock_: the first failure has been thrown by check_open()
  std::vector<std::exception_ptr> failures_;  // guarded by lock_; in order of time
  scope* body_ = nullptr;                  // guarded by lock_
  fiber* owner_ = nullptr;                 // guarded by lock_
};

/// One of the permits that max_concurrency allows.
class group_permit {
 public:
  explicit group_permit(group_core& g) {
    if (g.permits) held_.emplace(*g.permits);
  }

 private:
  std::optional<permit> held_;
};

}  // namespace detail

template <class F>
std::invoke_result_t<F&, group&> in_group(F&& f, group_options how = {});

/// Children that end before it does: asyncio.TaskGroup.
///
///     {
///       bide::group g;
///       for (auto& host : hosts) g.spawn(fetch, host);
///     }  // all have ended; what the first of them threw is thrown here
///
/// The first failure of a child cancels the others; it is thrown by wait(), or at the end of the block, and those that
/// failed besides are in other_failures(). A child that ends by its cancellation is no failure. Left by an exception, it
/// cancels its children and waits for them; what they throw is reported on stderr. Groups nest: a child may have its own.
/// in_group() also ends the waits of the block itself when a child fails, as asyncio does.
/// Threads:  spawn() by any fiber of the runtime, the children too; the rest by the fiber that made it.
class group {
 public:
  explicit group(group_options how = {}) : core_(how) {}
  group(const group&) = delete;
  group& operator=(const group&) = delete;

  /// Parks:    as wait().
  /// Errors:   as wait(), unless an exception is on its way or wait() has said it.
  ~group() noexcept(false) {
    if (std::uncaught_exceptions() > uncaught_)
      core_.abandon();
    else if (!waited_)
      core_.wait();
    else
      core_.abandon();
  }

  /// Runs `f(args...)` in a child. Never parks: with max_concurrency the child waits for its turn before it calls `f`.
  ///
  /// Returns:  its task, to be used or dropped; a failure is the group's all the same.
  /// Errors:   as bide::spawn(); what the first child to fail threw, if one has; std::system_error ECANCELED when the group
  ///           was cancelled.
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  auto spawn(F&& f, Args&&... args) {
    return spawn(spawn_options{}, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  auto spawn(const spawn_options& how, F&& f, Args&&... args) {
    core_.check_open();
    if constexpr (detail::wants_stop_token<std::decay_t<F>, std::decay_t<Args>...>) {
      return detail::spawn_in(&core_, how, nullptr,
                              [group = &core_, call = std::decay_t<F>(std::forward<F>(f))](std::stop_token stop, auto... as) mutable {
                                const detail::group_permit permit(*group);
                                return std::invoke(std::move(call), std::move(stop), std::move(as)...);
                              },
                              std::forward<Args>(args)...);
    } else {
      return detail::spawn_in(&core_, how, nullptr,
                              [group = &core_, call = std::decay_t<F>(std::forward<F>(f))](std::decay_t<Args>... as) mutable
                              -> std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...> {
                                const detail::group_permit permit(*group);
                                return std::invoke(std::move(call), std::move(as)...);
                              },
                              std::forward<Args>(args)...);
    }
  }

  /// Waits until every child has ended. The group may be used again after it has returned.
  ///
  /// Parks:    until then. Ended from outside, it cancels the children and waits for them all the same.
  /// Errors:   what the first child to fail threw; else `cancelled` or `timed_out` if the caller was.
  void wait() { wait(false); }

  /// Cancels every child; those to come are refused. Never parks for long.
  void cancel() noexcept { core_.cancel(); }

  /// Returns how many children have not ended.
  std::size_t size() { return core_.size(); }

  /// Returns what children have thrown so far, in order of time.
  std::vector<std::exception_ptr> failures() { return core_.failures(); }

 private:
  template <class F>
  friend std::invoke_result_t<F&, group&> in_group(F&&, group_options);

  void wait(bool cancelled_before) {
    waited_ = true;
    core_.wait(cancelled_before);
    waited_ = false;
  }

  detail::group_core core_;
  const int uncaught_ = std::uncaught_exceptions();
  bool waited_ = false;
};

/// Returns what else failed in the group whose first failure the calling fiber has had thrown at it last, in order of
/// time.
BIDE_API std::vector<std::exception_ptr> other_failures();

namespace detail {
/// The block of in_group: a child's failure ends its waits as cancelled.
class group_body {
 public:
  explicit group_body(group_core& g) : group_(g) {
    group_.set_body(&scope_);
  }
  ~group_body() { group_.set_body(nullptr); }
  group_body(const group_body&) = delete;

 private:
  group_core& group_;
  scope scope_{deadline::never().ns(), wait_result::cancelled, nullptr};
};
}  // namespace detail

/// Calls `f(group)`, waits for the group's children, and returns what `f` returned: `async with TaskGroup()`.
///
/// As a block with a group in it; and when a child fails, the waits that `f` is in or begins end as cancelled, and its
/// own end by that is replaced by the child's failure.
/// Parks, Errors: as group::wait(), and what `f` throws.
template <class F>
std::invoke_result_t<F&, group&> in_group(F&& f, group_options how) {
  using R = std::invoke_result_t<F&, group&>;
  group g(how);
  detail::result<R> out;
  {
    const detail::group_body body(g.core_);
    out.fill([&]() -> R { return std::invoke(f, g); });
  }
  if (out.state() != detail::result_state::value) g.cancel();
  // Its own exception comes first, but for a cancel that the failure of a child explains.
  if (out.state() == detail::result_state::exception) out.take();
  g.wait(out.state() == detail::result_state::cancelled);
  return out.take();
}

}  // namespace bide
