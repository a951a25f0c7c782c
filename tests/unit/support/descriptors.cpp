#include "support/descriptors.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

namespace unit {

using bide::sys::raw;

ends socket_pair(int type) {
  int both[2];
  make_call(SYS_socketpair, AF_UNIX, type, 0, both);
  return {fd(both[0]), fd(both[1])};
}

ends pipe_ends(int flags) {
  int both[2];
  make_call(SYS_pipe2, both, flags);
  return {fd(both[0]), fd(both[1])};
}

fd listener(unsigned short& port) {
  fd s(make_call(SYS_socket, AF_INET, SOCK_STREAM, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  raw(SYS_bind, +s, &at, size);
  raw(SYS_listen, +s, 128);
  raw(SYS_getsockname, +s, &at, &size);
  port = ntohs(at.sin_port);
  return s;
}

long connect_to(int fd, unsigned short port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(port);
  return make_call(SYS_connect, fd, &to, sizeof to);
}

std::string read_some(int fd, std::size_t most) {
  std::string text(most, '\0');
  const long n = make_call(SYS_read, fd, text.data(), most);
  text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return text;
}

long write_text(int fd, std::string_view text) { return make_call(SYS_write, fd, text.data(), text.size()); }

std::size_t fill_up(int fd) {
  static const char nothing[64 * 1024] = {};
  const long before = raw(SYS_fcntl, fd, F_GETFL);
  raw(SYS_fcntl, fd, F_SETFL, before | O_NONBLOCK);
  std::size_t sum = 0;
  for (std::size_t piece = sizeof nothing; piece;) {
    const long n = raw(SYS_write, fd, nothing, piece);
    if (n > 0)
      sum += static_cast<std::size_t>(n);
    else
      piece /= 2;
  }
  raw(SYS_fcntl, fd, F_SETFL, before);
  return sum;
}

std::size_t drain(int fd) {
  char some[64 * 1024];
  const long before = raw(SYS_fcntl, fd, F_GETFL);
  raw(SYS_fcntl, fd, F_SETFL, before | O_NONBLOCK);
  std::size_t sum = 0;
  for (long n; (n = raw(SYS_read, fd, some, sizeof some)) > 0;) sum += static_cast<std::size_t>(n);
  raw(SYS_fcntl, fd, F_SETFL, before);
  return sum;
}

}  // namespace unit
