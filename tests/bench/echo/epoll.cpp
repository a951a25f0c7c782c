// The floor of rows 8 and 11: an echo server as a bare level-triggered epoll loop, one read and one write an event.

#include "epoll_loop.hpp"

namespace {

void accept_all(const bench::server& how, bench::epoll_loop& loop) {
  for (;;) {
    const int connection = accept4(how.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection < 0) return;
    how.prepare(connection);
    loop.watch(connection);
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
  bench::epoll_loop loop;
  loop.run(how.listener, [&] { accept_all(how, loop); }, [&](int connection) { answer(how, connection); });
}
