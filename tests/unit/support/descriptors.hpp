// Descriptors for tests, and calls as the doors make them.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "lib/call/border.hpp"
#include "lib/sys/raw.hpp"

namespace unit {

template <class T>
long as_word(const T& value) {
  if constexpr (std::is_class_v<T>) {
    return static_cast<int>(value);  // an fd
  } else {
    return bide::sys::word(static_cast<std::decay_t<const T&>>(value));
  }
}

// Makes a call through the table, as a door would: a value or -errno.
template <class... Args>
long make_call(long nr, const Args&... args) {
  const long a[6] = {as_word(args)...};
  return bide_call(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// Owns a descriptor.
class fd {
 public:
  fd() = default;
  explicit fd(long number) : number_(static_cast<int>(number)) {}
  fd(fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  fd& operator=(fd&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~fd() { close(); }

  operator int() const { return number_; }
  int number() const { return number_; }
  long close() { return number_ < 0 ? 0 : make_call(SYS_close, std::exchange(number_, -1)); }
  // Somebody else has closed it, or will.
  int let_go() { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

// Closes what a call has made. Returns what it said.
inline long closed(long made) {
  if (made >= 0) fd{made};
  return made;
}

struct ends {
  fd ours, theirs;
};

// Made through the table, so that the runtime has seen them made.
ends socket_pair(int type = SOCK_STREAM);
// ours: to read; theirs: to write.
ends pipe_ends(int flags = 0);
// A listening TCP socket on loopback, and its port.
fd listener(unsigned short& port);
long connect_to(int fd, unsigned short port);

std::string read_some(int fd, std::size_t most = 4096);
long write_text(int fd, std::string_view text);

// Fills a descriptor until it takes no more, without waiting. Returns how many bytes it took.
std::size_t fill_up(int fd);
// Takes out what is there, without waiting.
std::size_t drain(int fd);

}  // namespace unit
