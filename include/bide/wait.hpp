/// How a wait is bounded and how it ends. Used by every function that parks.
#pragma once

#include <bide/detail/export.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>
#include <system_error>
#include <type_traits>

namespace bide {

/// The one way in which a wait ended. The first cause wins; a later one is not seen by this wait.
enum class wait_result : std::uint8_t {
  ready,      ///< What was waited for came.
  expired,    ///< The deadline passed first.
  cancelled,  ///< The fiber was cancelled; this wait has consumed the cancellation.
  closed,     ///< What was waited on was closed by somebody else: a descriptor, a channel.
  timed_out,  ///< The deadline of a bide::timeout around the wait passed.
};

namespace detail {
/// CLOCK_MONOTONIC, or the time of a seeded runtime: options::seed.
BIDE_API std::int64_t now_ns() noexcept;
}  // namespace detail

/// A point on the monotonic clock after which a wait ends as expired.
///
/// Time:     CLOCK_MONOTONIC in whole nanoseconds; clock_gettime(2). One in the past expires at the next wait.
class deadline {
 public:
  /// Constructs the deadline that never comes.
  constexpr deadline() noexcept = default;

  /// Constructs a deadline at a point of std::chrono::steady_clock, which is CLOCK_MONOTONIC here.
  constexpr deadline(std::chrono::steady_clock::time_point at) noexcept
      : ns_(std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count()) {}

  /// Returns the deadline that never comes.
  static constexpr deadline never() noexcept { return {}; }

  /// Returns the deadline `length` from now; a length beyond the clock's range gives never().
  template <class Rep, class Period>
  static deadline after(std::chrono::duration<Rep, Period> length) noexcept {
    using std::chrono::nanoseconds;
    const std::int64_t now = detail::now_ns();
    const auto wide = std::chrono::duration<long double, std::nano>(length).count();
    if (wide <= 0) return from_ns(now);
    if (wide >= static_cast<long double>(never_ns - now)) return never();
    return from_ns(now + std::chrono::ceil<nanoseconds>(length).count());
  }

  /// Returns the deadline at a point of any clock, as that clock is now: a later step of it is not seen.
  template <class Clock, class Duration>
  static deadline at(std::chrono::time_point<Clock, Duration> point) noexcept {
    if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>)
      return deadline(std::chrono::time_point_cast<std::chrono::steady_clock::duration>(point));
    else
      return after(point - Clock::now());
  }
  /// Returns the deadline at `ns` nanoseconds of the monotonic clock.
  static constexpr deadline from_ns(std::int64_t ns) noexcept {
    deadline d;
    d.ns_ = ns;
    return d;
  }

  /// Returns the nanoseconds of the monotonic clock at which it comes.
  constexpr std::int64_t ns() const noexcept { return ns_; }
  constexpr bool is_never() const noexcept { return ns_ == never_ns; }
  friend constexpr auto operator<=>(deadline, deadline) noexcept = default;

 private:
  static constexpr std::int64_t never_ns = std::numeric_limits<std::int64_t>::max();
  std::int64_t ns_ = never_ns;
};

/// Thrown by a function of this API that parks and has no result to say `cancelled` with.
///
/// It derives from nothing, so that `catch (const std::exception&)` lets it pass: a cancelled fiber unwinds to its
/// end unless it asks for this type by name, as asyncio's CancelledError passes `except Exception`.
struct cancelled {
  const char* what() const noexcept { return "bide: the fiber was cancelled"; }
};

/// Thrown by a function of this API that parks, when a deadline around it has passed: asyncio's TimeoutError.
///
/// Its code is ETIMEDOUT, which is what a libc call in its place fails with.
struct timed_out : std::system_error {
  timed_out() : std::system_error(ETIMEDOUT, std::generic_category(), "bide: the deadline has passed") {}
};

namespace detail {
/// Throws what a wait that ended like this says: `cancelled`, `timed_out` (also for expired), or EBADF for closed.
[[noreturn]] BIDE_API void throw_ended(wait_result);
inline void must_be_ready(wait_result how) {
  if (how != wait_result::ready) throw_ended(how);
}
/// Tells whether it came before its own deadline; throws what else ended the wait.
inline bool came_in_time(wait_result how) {
  if (how != wait_result::expired) must_be_ready(how);
  return how == wait_result::ready;
}
}  // namespace detail

}  // namespace bide
