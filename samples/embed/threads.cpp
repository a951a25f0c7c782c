// A server of the old kind: a thread for each connection. threads_and_fibers.cpp is what becomes of it.
#include "server.hpp"

#include <thread>

int main(int argc, char** argv) {
  const int listener = listen_on(port_of(argc, argv));
  for (;;) {
    const int peer = accept(listener, nullptr, nullptr);
    if (peer >= 0) std::thread(serve, peer).detach();
  }
}
