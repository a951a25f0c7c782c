/// What a fiber does to itself.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/wait.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace bide {

namespace detail {
BIDE_API void sleep_until(deadline);
}

/// Lets the other ready fibers of this worker run first.
///
/// Parks:    no; the fiber stays ready. On a plain thread, sched_yield(2). Not a point of cancellation.
BIDE_API void yield() noexcept;

/// Sleeps for at least `length`.
///
/// Parks:    until then; on a plain thread, blocks the thread.
/// Time:     monotonic. Zero and less return at once.
/// Errors:   throws `cancelled` or `timed_out`.
template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> length) {
  detail::sleep_until(deadline::after(length));
}

/// Sleeps until a point of a clock; as sleep_for.
inline void sleep_until(deadline until) { detail::sleep_until(until); }

namespace this_fiber {

/// Returns the running fiber's number in this process, from 1; 0 on a plain thread.
BIDE_API std::uint64_t id() noexcept;

/// Returns the running fiber's name; empty on a plain thread.
BIDE_API std::string name();

/// Returns how many bytes of the running fiber's stack were ever touched, by it or a former user, in whole pages; 0 on a
/// plain thread. Asks the kernel (mincore(2)): for tuning options::stack_size, not for hot paths.
BIDE_API std::size_t stack_peak() noexcept;

}  // namespace this_fiber

}  // namespace bide
