// What the servers here have in common, from before there were fibers: they answer in blocking code.
#pragma once

#include <arpa/inet.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

// Echoes until the peer has had enough. Each answer takes a while, as if it asked a database.
inline void serve(int peer) {
  char line[512];
  for (ssize_t n; (n = read(peer, line, sizeof line)) > 0;) {
    usleep(20'000);
    if (write(peer, line, static_cast<std::size_t>(n)) != n) break;
  }
  close(peer);
}

inline int listen_on(const char* port) {
  std::signal(SIGPIPE, SIG_IGN);
  const int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  const sockaddr_in here{AF_INET, htons(static_cast<unsigned short>(std::atoi(port))), {htonl(INADDR_LOOPBACK)}, {}};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&here), sizeof here) || listen(listener, SOMAXCONN)) {
    std::perror("cannot listen on that port");
    std::exit(1);
  }
  return listener;
}

inline const char* port_of(int argc, char** argv) {
  if (argc == 2 && std::atoi(argv[1]) > 0) return argv[1];
  std::printf("usage: %s PORT    echoes on 127.0.0.1:PORT until Ctrl-C\n", argv[0]);
  std::exit(2);
}
