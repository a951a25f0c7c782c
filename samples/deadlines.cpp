// Waits that end in time: a join, a plain recv with a timeout, and several steps under one deadline.
//
//   build/samples/deadlines
//
// A deadline is a point in time, not a length, so it can be handed down through any number of steps.
#include <bide/bide.hpp>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

using namespace std::chrono_literals;
using bide::deadline;

const char* text(bide::wait_result how) {
  const char* const names[] = {"ready", "expired", "cancelled", "closed", "timed out"};
  return names[static_cast<int>(how)];
}

void join_in_time() {
  auto slow = bide::spawn([] { sleep(3600); });
  std::printf("join, 100 ms:       %s\n", text(slow.join(deadline::after(100ms))));
  slow.cancel();  // it still ran: a deadline ends the wait for a task, never the task
  std::printf("join, once told:    %s\n", text(slow.join(deadline::never())));
}

void recv_in_time() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return std::perror("socketpair");
  const timeval limit{0, 100'000};
  setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  char byte;
  const ssize_t n = recv(ends[0], &byte, 1, 0);
  std::printf("recv, 100 ms:       %zd, %s\n", n, std::strerror(errno));
  close(ends[0]), close(ends[1]);
}

void steps_in_time() {
  bide::semaphore permits;
  auto giver = bide::spawn([&] {
    while (usleep(40'000) == 0) permits.release();
  });
  int steps = 0;
  for (const auto until = deadline::after(100ms); permits.acquire_until(until) == bide::wait_result::ready;) ++steps;
  giver.cancel();
  giver.join();
  std::printf("permits in 100 ms:  %d, one each 40 ms\n", steps);
}

int main() {
  bide::run([] { join_in_time(), recv_in_time(), steps_in_time(); });
}
