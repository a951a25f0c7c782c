// threads.cpp given fibers: a runtime beside the program's own thread, which accepts as it always did.
#include "server.hpp"

#include <bide/bide.hpp>

int main(int argc, char** argv) {
  const int listener = listen_on(port_of(argc, argv));
  bide::runtime fibers({.workers = 2});
  for (;;) {
    const int peer = accept(listener, nullptr, nullptr);
    if (peer >= 0) fibers.post([peer] { serve(peer); });
  }
}
