// A program with a loop of its own, given fibers: its poll(2) watches one descriptor more. Then the same on libev.
//
//   build/samples/stepped
#include <ev.h>

#include <bide/bide.hpp>
#include <bide/ev.hpp>

#include <chrono>
#include <cstdio>

#include <poll.h>
#include <unistd.h>

using namespace std::chrono_literals;

// Blocking code as ever.
int count_slowly(const char* where) {
  for (int i = 1; i <= 3; ++i) {
    usleep(20'000);
    std::printf("%s: %d\n", where, i);
  }
  return 3;
}

void in_a_poll_loop() {
  bide::runtime fibers(bide::stepped);
  auto job = fibers.spawn([] { return count_slowly("in a poll loop"); });
  while (!job.done()) {
    pollfd all[] = {{fibers.fd(), POLLIN, 0}};  // beside whatever else the program watches
    if (poll(all, 1, -1) > 0 && all[0].revents) fibers.poll();
  }
}

void on_libev() {
  struct ev_loop* loop = ev_default_loop(0);
  bide::runtime fibers(bide::stepped);
  bide::on_ev_loop attached(fibers, loop);
  auto job = fibers.spawn([] { return count_slowly("on libev"); });
  job.on_done([loop] { ev_break(loop, EVBREAK_ALL); });
  ev_run(loop, 0);
}

int main() {
  in_a_poll_loop();
  on_libev();
}
