#include "lib/sys/raw.hpp"

#include "lib/base/clock.hpp"

namespace bide::sys {

long futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t until) noexcept {
  const timespec at = base::to_timespec(until < 0 ? 0 : until);  // the kernel refuses times before zero
  return raw(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
             until == base::never ? nullptr : &at, nullptr, FUTEX_BITSET_MATCH_ANY);
}

long futex_wake(std::atomic<std::uint32_t>& word, int count) noexcept {
  return raw(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count);
}

}  // namespace bide::sys
