/// Keeping cancellations and deadlines off.
#pragma once

#include <bide/detail/scope.hpp>
#include <bide/task.hpp>

#include <functional>
#include <type_traits>

namespace bide {

namespace detail {
/// Nothing from outside ends a wait while it lives; does nothing on a plain thread.
class shield_scope {
 public:
  BIDE_API shield_scope() noexcept;
  BIDE_API ~shield_scope();
  shield_scope(const shield_scope&) = delete;

 private:
  scope scope_{0, wait_result::ready, nullptr};
  core::fiber* who_;
};
}  // namespace detail

/// A task that whoever waits for it will not cancel.
template <class R>
struct shielded {
  using value_type = R;
  task<R>& it;
};

/// Keeps a task out of the reach of wait_for, gather and kin, which would cancel it when their caller is: asyncio.shield().
/// Waiting by get() needs none: a wait that ends never touches the task.
template <class R>
shielded<R> shield(task<R>& t) noexcept {
  return {t};
}

/// Calls `f` with cancellations and the deadlines of timeouts around it kept off, and returns what it returns: for what
/// must be finished once begun. A cancel that comes meanwhile is kept for the next wait. Timeouts made within count.
template <class F>
  requires std::invocable<F&>
std::invoke_result_t<F&> shield(F&& f) {
  const detail::shield_scope kept_off;
  return std::invoke(f);
}

}  // namespace bide
