// A server on libev, which serves one peer after another. ev_and_fibers.cpp is what becomes of it.
#include "server.hpp"

#include <ev.h>

static void on_peer(struct ev_loop*, ev_io* listener, int) {
  const int peer = accept(listener->fd, nullptr, nullptr);
  serve(peer);
}

int main(int argc, char** argv) {
  struct ev_loop* loop = ev_default_loop(0);
  ev_io listener;
  ev_io_init(&listener, on_peer, listen_on(port_of(argc, argv)), EV_READ);
  ev_io_start(loop, &listener);
  ev_run(loop, 0);
}
