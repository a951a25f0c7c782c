// A stepped runtime on a libev loop of the program's own.
#include <ev.h>

#include "support.hpp"

#include <bide/ev.hpp>

#include <sys/socket.h>

#include <string>

using namespace api;

TEST_SUITE("api/ev") {
  TEST_CASE("fibers run on a loop that the program owns, beside its own watchers") {
    struct ev_loop* loop = ev_loop_new(EVFLAG_AUTO);
    REQUIRE(loop);
    {
      bide::runtime fibers(bide::stepped);
      bide::on_ev_loop attached(fibers, loop);
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
      std::string got;
      auto reader = fibers.spawn([&] {
        char byte;
        while (read(ends[0], &byte, 1) == 1) got += byte;
        bide::sleep_for(2ms);
      });
      struct timers {
        ev_timer tick;
        int write_to, ticks;
      } mine{{}, ends[1], 0};
      ev_timer_init(&mine.tick, [](struct ev_loop*, ev_timer* w, int) {
        auto& t = *static_cast<timers*>(w->data);
        if (t.ticks++ < 3)
          CHECK(write(t.write_to, "x", 1) == 1);
        else
          close(t.write_to);
      }, 0.001, 0.002);
      mine.tick.data = &mine;
      ev_timer_start(loop, &mine.tick);
      const auto end = std::chrono::steady_clock::now() + 20s;
      while (!reader.done() && std::chrono::steady_clock::now() < end) {
        ev_run(loop, EVRUN_ONCE);
        if (mine.ticks > 3) ev_timer_stop(loop, &mine.tick);
      }
      reader.join();
      CHECK(got == "xxx");
      close(ends[0]);
    }
    ev_loop_destroy(loop);
  }
}
