// poll.cpp given fibers: the loop watches one descriptor more, and steps the runtime when that has something to do.
#include "server.hpp"

#include <bide/bide.hpp>
#include <poll.h>

int main(int argc, char** argv) {
  const int listener = listen_on(port_of(argc, argv));
  bide::runtime fibers(bide::stepped);
  for (;;) {
    pollfd all[] = {{listener, POLLIN, 0}, {fibers.fd(), POLLIN, 0}};
    if (poll(all, 2, -1) <= 0) continue;
    if (all[0].revents) fibers.post([peer = accept(listener, nullptr, nullptr)] { serve(peer); });
    if (all[1].revents) fibers.poll();
  }
}
