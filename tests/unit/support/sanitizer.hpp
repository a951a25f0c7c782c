// What a checked build can't do.
#pragma once

#include <stdio.h>

namespace unit {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool asan = true;
#else
inline constexpr bool asan = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool tsan = true;
#else
inline constexpr bool tsan = false;
#endif
inline constexpr bool sanitized = asan || tsan;

// Fewer rounds where each costs ten times as much.
constexpr int rounds(int plain) noexcept { return sanitized ? plain / 10 + 1 : plain; }

}  // namespace unit

// Leaves the test case, and says why.
#define SKIP_IF(condition, reason)                                                          \
  if (condition) {                                                                          \
    fprintf(stderr, "skipped: %s: %s\n", doctest::getContextOptions()->currentTest->m_name, reason); \
    return;                                                                                 \
  }
