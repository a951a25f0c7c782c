// A server with a loop of its own, which serves one peer after another. poll_and_fibers.cpp is what becomes of it.
#include "server.hpp"

#include <poll.h>

int main(int argc, char** argv) {
  const int listener = listen_on(port_of(argc, argv));
  for (;;) {
    pollfd all[] = {{listener, POLLIN, 0}};
    if (poll(all, 1, -1) <= 0) continue;
    if (all[0].revents) serve(accept(listener, nullptr, nullptr));
  }
}
