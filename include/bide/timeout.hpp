/// Deadlines around a piece of code, and around a task.
#pragma once

#include <bide/detail/scope.hpp>
#include <bide/shield.hpp>
#include <bide/task.hpp>

#include <chrono>

namespace bide {

namespace detail {
BIDE_API void enter_scope(scope&);
BIDE_API void leave_scope(scope&) noexcept;
}  // namespace detail

/// A deadline for everything that its fiber waits for while it lives: asyncio.timeout().
///
///     bide::timeout limit(2s);
///     const int fd = dial(host);        // libc's connect and read: -1 with ETIMEDOUT
///     bide::sleep_for(1h);              // this API: throws bide::timed_out
///
/// Once it has passed, every wait within ends, those that begin later too, until the scope is left; what needs no wait
/// still succeeds. Scopes nest: the earliest deadline counts. It reaches the fiber that made it, not the fibers it spawns.
/// Not reached: offload(), libc's mutexes, read-write locks and barriers, whose callers count on them, and bide::shield. libc's
/// condition variables, which have no such error, end one wait as if woken for nothing: see ended_call.
/// asyncio delivers its timeout once, as a cancellation; here it stays, so that a call that ignores an error, or a retry,
/// cannot outlive the deadline.
/// Threads:  the fiber that makes it.
class timeout {
 public:
  /// Time:     monotonic. Zero and less, or a deadline in the past: the next wait ends at once.
  /// Errors:   std::system_error EPERM outside a fiber.
  template <class Rep, class Period>
  explicit timeout(std::chrono::duration<Rep, Period> length) : timeout(deadline::after(length)) {}
  explicit timeout(deadline until) {
    scope_.until = until.ns();
    detail::enter_scope(scope_);
  }
  ~timeout() { detail::leave_scope(scope_); }
  timeout(const timeout&) = delete;
  timeout& operator=(const timeout&) = delete;

  /// Tells whether its deadline has passed: whose it was when `timed_out` arrives.
  bool expired() const noexcept { return when().ns() <= detail::now_ns(); }
  deadline when() const noexcept { return deadline::from_ns(scope_.until); }
  /// Moves the deadline, for waits that begin from now on.
  void reschedule(deadline until) noexcept { scope_.until = until.ns(); }

 private:
  detail::scope scope_;
};

/// Waits for a task and returns what it returned, or throws what it threw; at the deadline cancels it, waits for its end,
/// and throws `timed_out`: asyncio.wait_for(). What the task still came to by then is not lost: it is returned, or thrown.
///
/// A caller that is cancelled, or whose own timeout passes, cancels the task as well. wait_for(bide::shield(task), ...)
/// leaves the task alone instead.
/// Parks:    until the task has ended, which after its cancel is up to it.
/// Time:     monotonic; a deadline in the past still takes the result of a task that has ended.
/// Errors:   as task::get().
template <class R>
R wait_for(task<R>& t, deadline until) {
  const wait_result how = t.join(until);
  if (how == wait_result::ready || how == wait_result::closed) return t.get();
  t.cancel();
  bool ended_by_it = false;
  shield([&] {
    t.join();
    ended_by_it = t.state() == task_state::cancelled;
  });
  if (how == wait_result::expired && !ended_by_it) return t.get();
  detail::throw_ended(how);
}
template <class R>
R wait_for(task<R>&& t, deadline until) {
  return wait_for(t, until);
}
template <class R>
R wait_for(shielded<R> t, deadline until) {
  detail::must_be_ready(t.it.join(until));
  return t.it.get();
}
/// Runs `f` in a new fiber and waits for it so.
template <class F>
  requires detail::spawnable<F>
auto wait_for(F&& f, deadline until) {
  return wait_for(spawn(std::forward<F>(f)), until);
}
template <class T, class Rep, class Period>
decltype(auto) wait_for(T&& what, std::chrono::duration<Rep, Period> length) {
  return wait_for(std::forward<T>(what), deadline::after(length));
}

}  // namespace bide
