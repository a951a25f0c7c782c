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
  // Why libev could not make a loop: -EMFILE, -ENFILE, -ENOMEM; -EINVAL where LIBEV_FLAGS asks for no back end it has.
  static int error() noexcept;
  static void refused(int fd, int error) noexcept;
  // By epoll(7): a look at the kernel is over, and what it told of each descriptor, if it told all.
  static void looked() noexcept;
  static void saw(int fd, std::uint32_t events) noexcept;
};

}  // namespace bide::io
