#include <doctest/doctest.h>
#include <poll.h>
#include <sys/syscall.h>

#include <chrono>

#include "support/descriptors.hpp"
#include "support/runtime.hpp"

using namespace unit;

TEST_SUITE("call/readiness") {
  TEST_CASE("what poll reports in any case may be asked for, and costs no descriptor") {
    on_workers([] {
      const ends e = socket_pair();
      pollfd one{e.ours, POLLIN | POLLERR | POLLHUP | POLLNVAL, 0};
      auto waits = bide::spawn([&] { return make_call(SYS_poll, &one, 1, -1); });
      const int before = open_descriptors();
      until_parked(1);
      CHECK(open_descriptors() == before);
      write_text(e.theirs, "x");
      CHECK(waits.get() == 1);
      CHECK(one.revents == POLLIN);
    });
  }
}
