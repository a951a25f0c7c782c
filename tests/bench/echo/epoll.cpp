// The floor of rows 8 and 11: an echo server as a bare level-triggered epoll loop, one read and one write an event.

#include "server.hpp"

#include <sys/epoll.h>

namespace {

void watch(int loop, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0) bench::fail("epoll_ctl");
}

void accept_all(const bench::server& how, int loop) {
  for (;;) {
    const int connection = accept4(how.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection < 0) return;
    how.prepare(connection);
    watch(loop, connection);
  }
}

void answer(const bench::server& how, int connection) {
  char buffer[4096];
  const ssize_t got = read(connection, buffer, sizeof buffer);
  if (got < 0 && errno == EAGAIN) return;
  if (got > 0 && write(connection, buffer, static_cast<std::size_t>(got)) == got) return;
  close(connection);
  how.ended();
}

}  // namespace

int main(int count, char** arguments) {
  const bench::server how(count, arguments, SOCK_NONBLOCK);
  const int loop = epoll_create1(EPOLL_CLOEXEC);
  watch(loop, how.listener);
  for (;;) {
    epoll_event events[1024];
    const int ready = epoll_wait(loop, events, 1024, -1);
    for (int i = 0; i < ready; ++i) {
      if (events[i].data.fd == how.listener) {
        accept_all(how, loop);
      } else {
        answer(how, events[i].data.fd);
      }
    }
  }
}
