// What libev sees instead of libc.
#pragma once

#include <cstdint>

namespace bide::io {

class loop;

// The loop whose libev code the calling thread runs; null while it runs none.
struct seam {
  static loop*& current() noexcept;
  static std::int64_t until() noexcept;
  static void polls_with(int fd) noexcept;
  static bool wants_urgent(int fd) noexcept;
  static void refused(int fd, int error) noexcept;
};

}  // namespace bide::io
