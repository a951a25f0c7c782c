// Kernel calls with C++ arguments, through the gate: a value or -errno comes back, errno stays as it was.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "asm/gate.h"

namespace bide::sys {

template <class T>
long word(T value) noexcept {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else {
    return static_cast<long>(value);
  }
}

template <class... Args>
long raw(long nr, Args... args) noexcept {
  static_assert(sizeof...(Args) <= 6);
  const long a[6] = {word(args)...};
  return bide_gate(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

inline bool failed(long answer) noexcept { return answer < 0 && answer >= -4095; }

// Waits while `word` holds `expected`, at most until the monotonic `until`. 0, or -EAGAIN, -EINTR, -ETIMEDOUT: all
// but the last mean "look again". FUTEX_WAIT_BITSET takes an absolute time, futex(2).
long futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t until) noexcept;
long futex_wake(std::atomic<std::uint32_t>& word, int count) noexcept;

}  // namespace bide::sys
