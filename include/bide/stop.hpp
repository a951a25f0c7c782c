/// std::stop_token as a fiber's cancellation.
#pragma once

#include <bide/task.hpp>

#include <optional>
#include <stop_token>
#include <utility>

namespace bide {

namespace detail {
BIDE_API fiber* fiber_to_stop();
BIDE_API void settle_requests() noexcept;
}  // namespace detail

/// While it lives, a stop requested of the token cancels the fiber that made it, as task::cancel() would. The other way
/// round, a task's cancel as a stop_token, is spawn() with a function that takes one.
///
/// Threads:  the fiber that makes it; the stop may be requested on any.
/// Parks:    its end, for a moment, while another thread's request is on its way.
class cancel_on_stop {
 public:
  /// Errors:   std::system_error EPERM outside a fiber.
  explicit cancel_on_stop(std::stop_token token) : callback_(std::in_place, std::move(token), request{detail::fiber_to_stop()}) {}
  ~cancel_on_stop() {
    callback_.reset();
    detail::settle_requests();
  }
  cancel_on_stop(const cancel_on_stop&) = delete;
  cancel_on_stop& operator=(const cancel_on_stop&) = delete;

 private:
  struct request {
    detail::fiber* who;
    void operator()() const noexcept { detail::cancel_fiber(who); }
  };
  std::optional<std::stop_callback<request>> callback_;
};

}  // namespace bide
