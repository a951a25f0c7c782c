/// The blocking echo server of rows 8, 11 and 12: the same lines with a thread and with a fiber for each connection.
#pragma once

#include "server.hpp"

namespace bench {

/// Answers one connection until its peer is gone. Ordinary blocking code.
inline void serve(const server& how, int connection) {
  how.prepare(connection);
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(connection, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN && how.read_timeout > 0) continue;
    if (got <= 0) break;
    if (write(connection, buffer, static_cast<std::size_t>(got)) != got) break;
  }
  close(connection);
  how.ended();
}

/// Accepts for ever and has `start` run serve() for each connection.
template <class Start>
void accept_each(const server& how, Start&& start) {
  for (;;) {
    const int connection = accept4(how.listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) {
      start(connection);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      fail("accept4");
    }
  }
}

}  // namespace bench
