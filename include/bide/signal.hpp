/// Signal handlers that are fibers.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/frame.hpp>

#include <functional>
#include <type_traits>
#include <utility>

namespace bide {

namespace detail {
/// Starts a fiber that calls `call(what)` for each arrival; throws std::system_error.
BIDE_API fiber* watch_signal(int signal, void (*call)(void* what), void* what);
BIDE_API void unwatch_signal(int signal, fiber*) noexcept;
}  // namespace detail

/// While it lives, `f` is called in a fiber of its own each time the signal has arrived: loop.add_signal_handler().
///
///     bide::signal_handler on_interrupt(SIGINT, [&] { jobs.cancel(); });
///
/// There nothing is forbidden that a handler must not do: it may park, lock, allocate. Calls come one after another; what
/// one throws is reported on stderr. Calls in progress elsewhere are restarted (SA_RESTART), so nobody sees EINTR.
/// Threads:  fibers. One handler a signal at a time in the process; the signal must not be blocked in every thread.
/// Signals:  at its end the action of before is put back, and what is still to come is lost with it.
class signal_handler {
 public:
  /// Errors:   std::system_error: EPERM outside a fiber, EINVAL for a signal that can't be handled, EBUSY for one that is,
  ///           EMFILE or ENFILE when no descriptor is left.
  template <class F>
    requires std::invocable<std::decay_t<F>&>
  signal_handler(int signal, F&& f) : signal_(signal), call_(std::forward<F>(f)) {
    who_ = detail::watch_signal(signal, [](void* self) { static_cast<signal_handler*>(self)->call_(); }, this);
  }
  ~signal_handler() { detail::unwatch_signal(signal_, who_); }
  signal_handler(const signal_handler&) = delete;
  signal_handler& operator=(const signal_handler&) = delete;

 private:
  const int signal_;
  std::function<void()> call_;
  detail::fiber* who_;
};

}  // namespace bide
