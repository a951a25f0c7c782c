#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <chrono>

#include "lib/fiber/worker_core.hpp"
#include "lib/io/reactor.hpp"
#include "lib/sys/raw.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
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

  TEST_CASE("a poll that has waited says what the kernel would, and asks it once more only where epoll has not said it") {
    in_runtime([] {  // one worker: it looks when all of it has happened
      // Two of three that are ready at once, one of them at its end, and one that nobody asks for.
      const auto polled = [](auto make_ready) {
        ends e[3] = {socket_pair(), socket_pair(), socket_pair()};
        pollfd fds[4] = {{e[0].ours, POLLIN, 0}, {-1, POLLIN, POLLIN}, {e[1].ours, POLLIN, POLLIN}, {e[2].ours, POLLIN, 0}};
        auto waits = bide::spawn([&] { return make_call(SYS_poll, fds, 4, -1); });
        until_parked(1);
        make_ready(e);
        const long found = waits.get();
        pollfd again[4];
        for (int i = 0; i < 4; ++i) again[i] = {fds[i].fd, fds[i].events, 0};
        CHECK(found == make_call(SYS_poll, again, 4, 0));
        for (int i = 0; i < 4; ++i) {
          CAPTURE(i);
          CHECK(fds[i].revents == again[i].revents);
        }
        return found;
      };
      const fault_plan counted;
      CHECK(polled([](ends* e) { write_text(e[2].theirs, "x"); }) == 1);
      CHECK(polled([](ends* e) {
              // By the kernel's calls, between which nobody gives way to the loop.
              CHECK(bide::sys::raw(SYS_write, static_cast<int>(e[0].theirs), "x", 1) == 1);
              CHECK(bide::sys::raw(SYS_shutdown, static_cast<int>(e[2].theirs), SHUT_RDWR) == 0);
            }) == 2);
      // Each looks before it waits, and the test itself; without epoll they look again.
      const int looks = counted.calls(SYS_poll);
      if (bide::core::this_worker()->reactor->sees_urgent())
        CHECK(looks == 4);
      else
        CHECK(looks >= 6);
    });
  }

  TEST_CASE("a read after a poll that found something does not wait for the loop first") {
    in_runtime([] {
      const ends e = socket_pair();
      char text[16];
      bool read_once = false;
      auto reads = bide::spawn([&] {
        CHECK(make_call(SYS_read, e.ours, text, sizeof text) == 1);  // short: the next one would park first
        read_once = true;
        pollfd one{e.ours, POLLIN, 0};
        CHECK(make_call(SYS_poll, &one, 1, -1) == 1);
        bool another_ran = false;
        auto another = bide::spawn([&] { another_ran = true; });
        CHECK(make_call(SYS_read, e.ours, text, sizeof text) == 1);
        CHECK(!another_ran);
        another.join();
      });
      until_parked(1);
      write_text(e.theirs, "x");
      until([&] { return read_once; });
      until_parked(1);
      write_text(e.theirs, "y");
      reads.join();
    });
  }
}
