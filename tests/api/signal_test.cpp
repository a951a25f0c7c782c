// Signals as fibers, and the debug mode: what asyncio's loop does beside running tasks.
#include "support.hpp"

#include <signal.h>

#include <atomic>
#include <stdexcept>

using namespace api;

namespace {

void hold_the_worker(std::chrono::milliseconds length) {
  const auto end = std::chrono::steady_clock::now() + length;
  while (std::chrono::steady_clock::now() < end) {
  }
}

}  // namespace

TEST_SUITE("api/signal") {
  // asyncio: loop.add_signal_handler runs a callback in the loop; here it may wait.
  TEST_CASE("a signal is handled by a fiber, which may park, as often as it arrives") {
    on_workers([] {
      bide::channel<int> seen(bide::unbounded);
      bide::signal_handler on_usr1(SIGUSR1, [&] {
        bide::sleep_for(1ms);
        CHECK(bide::this_fiber::name() == "signal 10");
        seen.send(1);
      });
      for (int i = 0; i < 3; ++i) {
        kill(getpid(), SIGUSR1);
        CHECK(seen.receive() == 1);
      }
      CHECK(usleep(1000) == 0);
    });
  }

  TEST_CASE("a handler ends with its object, and what was before is back") {
    static std::atomic<int> plain = 0;
    signal(SIGUSR2, [](int) { ++plain; });
    bide::run([] {
      {
        bide::event seen;
        bide::signal_handler on_usr2(SIGUSR2, [&] { seen.set(); });
        kill(getpid(), SIGUSR2);
        seen.wait();
        CHECK(plain == 0);
      }
      kill(getpid(), SIGUSR2);
      while (plain == 0) bide::yield();
    });
    signal(SIGUSR2, SIG_DFL);
  }

  TEST_CASE("a handler that is busy when its object goes is ended, whatever it does about it") {
    on_workers([] {
      for (const bool throws : {true, false}) {
        bide::event busy;
        {
          bide::signal_handler on_usr1(SIGUSR1, [&] {
            busy.set();
            if (throws) bide::sleep_for(1h);
            usleep(900'000);  // ends with ECANCELED, which it ignores
          });
          kill(getpid(), SIGUSR1);
          busy.wait();
        }
      }
    });
  }

  TEST_CASE("a handler that throws is reported, and the next arrival is handled") {
    const ending e = in_child([] {
      bide::run([] {
        int calls = 0;
        bide::event twice;
        bide::signal_handler on_usr1(SIGUSR1, [&] {
          if (++calls == 2) return twice.set();
          kill(getpid(), SIGUSR1);
          throw std::runtime_error("handled badly");
        });
        kill(getpid(), SIGUSR1);
        twice.wait();
      });
    });
    CHECK(e.exited(0));
    CHECK(e.says("a signal handler"));
    CHECK(e.says("handled badly"));
  }

  TEST_CASE("what can't be handled is refused") {
    CHECK(error_of([] { bide::signal_handler none(SIGUSR1, [] {}); }, "outside a fiber") == EPERM);
    bide::run([] {
      CHECK(error_of([] { bide::signal_handler none(0, [] {}); }, "no signal") == EINVAL);
      CHECK(error_of([] { bide::signal_handler none(1000, [] {}); }, "no signal") == EINVAL);
      CHECK(error_of([] { bide::signal_handler none(SIGKILL, [] {}); }, "can't be handled") == EINVAL);
      bide::signal_handler one(SIGUSR1, [] {});
      CHECK(error_of([] { bide::signal_handler two(SIGUSR1, [] {}); }, "one already") == EBUSY);
    });
  }

  // asyncio: debug mode logs callbacks slower than slow_callback_duration, 100 ms, once they have returned; here while
  // they run, so that one that never returns is named too.
  TEST_CASE("debug mode names a fiber that holds its worker over 100 ms, and no other") {
    const ending e = in_child([] {
      for (const unsigned workers : {1u, 2u}) {
        bide::run([] {
          auto fair = bide::spawn({.name = "fair"}, [] {
            for (int i = 0; i < 40; ++i) {
              hold_the_worker(4ms);
              bide::yield();
            }
          });
          fair.join();
          auto sleeper = bide::spawn({.name = "sleeper"}, [] { bide::sleep_for(300ms); });
          sleeper.join();
          auto greedy = bide::spawn({.name = "greedy"}, [] { hold_the_worker(400ms); });
          greedy.join();
          bide::sleep_for(60ms);
        }, {.workers = workers, .debug = bide::debug_mode::on});
      }
    });
    CAPTURE(e.text);
    CHECK(e.exited(0));
    CHECK(e.says("'greedy'"));
    CHECK(e.says("has held its worker for"));
    CHECK(e.says("let its worker go after"));
    CHECK(!e.says("'sleeper'"));
  }

  TEST_CASE("the environment turns debug mode on, the options choose the time and turn it off") {
    const auto said = [](bide::debug_mode mode, const char* set) {
      return in_child([=] {
        setenv("BIDE_DEBUG", set, 1);
        bide::run([] { hold_the_worker(250ms); }, {.debug = mode, .slow = 20ms});
      });
    };
    CHECK(said(bide::debug_mode::by_environment, "1").says("'main'"));
    CHECK(said(bide::debug_mode::by_environment, "0").text.empty());
    CHECK(said(bide::debug_mode::off, "1").text.empty());
  }

  TEST_CASE("a deadlock is found in debug mode as well") {
    const ending e = in_child([] {
      const int error = error_of([] {
        bide::run([] {
          bide::semaphore never;
          never.acquire();
        }, {.debug = bide::debug_mode::on});
      });
      _exit(error == EDEADLK ? 0 : 1);
    });
    CHECK(e.exited(0));
    CHECK(e.says("nothing is left that could wake one"));
  }
}
