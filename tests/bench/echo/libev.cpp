// Row 11's other floor: the echo server as libev callbacks, the loop that bide itself stands on.

#include "server.hpp"

#include <ev.h>

namespace {

const bench::server* how;

void answer(struct ev_loop* loop, ev_io* watcher, int) {
  char buffer[4096];
  const ssize_t got = read(watcher->fd, buffer, sizeof buffer);
  if (got < 0 && errno == EAGAIN) return;
  if (got > 0 && write(watcher->fd, buffer, static_cast<std::size_t>(got)) == got) return;
  ev_io_stop(loop, watcher);
  close(watcher->fd);
  delete watcher;
  how->ended();
}

void accept_all(struct ev_loop* loop, ev_io* listener, int) {
  for (;;) {
    const int connection = accept4(listener->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection < 0) return;
    how->prepare(connection);
    auto* watcher = new ev_io;
    ev_io_init(watcher, answer, connection, EV_READ);
    ev_io_start(loop, watcher);
  }
}

}  // namespace

int main(int count, char** arguments) {
  const bench::server server(count, arguments, SOCK_NONBLOCK);
  how = &server;
  struct ev_loop* loop = ev_default_loop(EVBACKEND_EPOLL);
  ev_io listener;
  ev_io_init(&listener, accept_all, server.listener, EV_READ);
  ev_io_start(loop, &listener);
  ev_run(loop, 0);
}
