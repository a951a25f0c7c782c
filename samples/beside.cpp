// A blocking server of the old kind, a thread for each connection, given fibers: the lines marked + are all that changed.
//
//   build/samples/beside 7001      then, elsewhere: nc localhost 7001
//
// Its main thread still accepts as it always did; connections are fibers of a runtime beside it, on two threads, and the
// calls in `serve` are the same libc names as before.
#include <bide/bide.hpp>  // +

#include <cstdio>
#include <cstdlib>

#include <arpa/inet.h>
#include <csignal>
#include <unistd.h>

static void serve(int peer) {
  char line[512];
  for (ssize_t n; (n = read(peer, line, sizeof line)) > 0;) {
    usleep(20'000);  // whatever it asks elsewhere
    if (write(peer, line, n) != n) break;
  }
  close(peer);
}

int main(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port <= 0 || port > 65535) return std::puts("usage: beside PORT    echoes on 127.0.0.1:PORT until Ctrl-C"), 2;
  std::signal(SIGPIPE, SIG_IGN);
  const int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  const sockaddr_in here{AF_INET, htons(static_cast<unsigned short>(port)), {htonl(INADDR_LOOPBACK)}, {}};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&here), sizeof here) || listen(listener, SOMAXCONN))
    return std::perror("beside: cannot listen on that port"), 1;
  bide::runtime fibers({.workers = 2});  // +
  for (;;) {
    const int peer = accept(listener, nullptr, nullptr);
    if (peer >= 0) fibers.post([peer] { serve(peer); });  // + was: std::thread(serve, peer).detach();
  }
}
