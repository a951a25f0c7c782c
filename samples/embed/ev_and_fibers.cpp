// ev.cpp given fibers: the loop that the program owns steps the runtime as well.
#include "server.hpp"

#include <ev.h>
#include <bide/ev.hpp>

static void on_peer(struct ev_loop*, ev_io* listener, int) {
  const int peer = accept(listener->fd, nullptr, nullptr);
  static_cast<bide::runtime*>(listener->data)->post([peer] { serve(peer); });
}

int main(int argc, char** argv) {
  struct ev_loop* loop = ev_default_loop(0);
  bide::runtime fibers(bide::stepped);
  bide::on_ev_loop attached(fibers, loop);
  ev_io listener;
  listener.data = &fibers;
  ev_io_init(&listener, on_peer, listen_on(port_of(argc, argv)), EV_READ);
  ev_io_start(loop, &listener);
  ev_run(loop, 0);
}
