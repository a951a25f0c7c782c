/// What every server of rows 8, 11, 18 and 20 does at its start and end, however it waits in between.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

[[noreturn]] inline void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

/// Takes as many descriptors as the system grants.
inline void raise_descriptor_limit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit");
}

/// A listening socket on loopback and the options: `--port N` is where, instead of at a free port, `--connections N` ends
/// the process when N connections have ended, `--read-timeout S` sets SO_RCVTIMEO on each of them.
struct server {
  int listener = -1;
  long port = 0;
  long connections = 0;
  long read_timeout = 0;
  mutable long ended_count = 0;  // any thread; __atomic

  /// Listens, and writes to stdout where, as "port N". Bounds the life of the process.
  server(int count, char** arguments, int socket_flags = 0) {
    for (int i = 1; i + 1 < count; i += 2) {
      if (!std::strcmp(arguments[i], "--port")) port = std::atol(arguments[i + 1]);
      if (!std::strcmp(arguments[i], "--connections")) connections = std::atol(arguments[i + 1]);
      if (!std::strcmp(arguments[i], "--read-timeout")) read_timeout = std::atol(arguments[i + 1]);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(300);
    raise_descriptor_limit();
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);
    if (listener < 0) fail("socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(port));
    socklen_t size = sizeof address;
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0) fail("bind");
    if (listen(listener, 4096) != 0) fail("listen");
    if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) fail("getsockname");
    std::printf("port %d\n", ntohs(address.sin_port));
    std::fflush(stdout);
  }

  /// Sets a new connection's options.
  void prepare(int connection) const {
    const int on = 1;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const timeval length{.tv_sec = read_timeout, .tv_usec = 0};
    if (read_timeout > 0) setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &length, sizeof length);
  }

  /// Counts a connection that has ended, and ends the process with the last one.
  void ended() const {
    if (__atomic_add_fetch(&ended_count, 1, __ATOMIC_RELAXED) == connections) _exit(0);
  }
};

}  // namespace bench
