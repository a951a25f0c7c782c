#include "support.hpp"

#include <signal.h>
#include <sys/socket.h>

#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace api;

TEST_SUITE("api/bad_input") {
  TEST_CASE("options out of bounds are refused with the bounds") {
    const auto run = [](bide::options how) { return [how] { bide::run([] {}, how); }; };
    CHECK(error_of(run({.workers = 0}), "1 to 64") == EINVAL);
    CHECK(error_of(run({.workers = 65}), "1 to 64") == EINVAL);
    CHECK(error_of(run({.stack_size = 1024}), "16 KiB") == EINVAL);
    CHECK(error_of(run({.stack_size = std::size_t{4} << 30}), "1 GiB") == EINVAL);
    CHECK(error_of(run({.offload_threads = 0}), "1 to 4096") == EINVAL);
    bide::run([] { CHECK(error_of([] { bide::spawn({.stack_size = 1024}, [] {}); }, "16 KiB") == EINVAL); });
  }

  TEST_CASE("spawn outside a runtime says where it belongs") {
    CHECK(error_of([] { bide::spawn([] {}); }, "bide::run") == EPERM);
  }

  TEST_CASE("a result is taken once, and an empty handle has none") {
    bide::run([] {
      auto t = bide::spawn([] { return 1; });
      CHECK(t.get() == 1);
      CHECK(error_of([&] { t.get(); }, "already taken") == EINVAL);
      bide::task<int> none;
      CHECK(error_of([&] { none.get(); }, "empty") == EINVAL);
      CHECK(!none.done());
      none.cancel();
    });
  }

  TEST_CASE("a task that joins itself is told") {
    bide::run([] {
      bide::task<void> self;
      int error = 0;
      self = bide::spawn([&] { error = error_of([&] { self.join(); }, "its own end"); });
      while (!self.done()) bide::yield();
      CHECK(error == EDEADLK);
    });
  }

  TEST_CASE("a callable that can't be copied in leaves nothing behind") {
    struct refuses {
      refuses() = default;
      refuses(const refuses&) { throw std::runtime_error("no copy"); }
      void operator()() const {}
    };
    bide::run([] {
      const refuses r;
      CHECK_THROWS_WITH_AS(bide::spawn(r), "no copy", std::runtime_error);
      CHECK(bide::spawn([] { return 2; }).get() == 2);
    });
  }

  TEST_CASE("when nothing is left that could wake anybody, run says who waits for what") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer's own threads may come and go");
      return;
    }
    for (const unsigned workers : {1u, 2u, 4u}) {
      const ending e = in_child([&] {
        // They outlive the fibers that wait for them.
        bide::mutex m;
        bide::semaphore s;
        const int error = error_of(
            [&] {
              bide::run(
                  [&] {
                    m.lock();
                    auto a = bide::spawn({.name = "one"}, [&] { s.acquire(); });
                    auto b = bide::spawn({.name = "two"}, [&] { m.lock(); });
                    a.join();
                  },
                  {.workers = workers});
            },
            "nothing was left");
        _exit(error == EDEADLK ? 0 : 1);
      });
      CAPTURE(e.text);
      CHECK(e.exited(0));
      CHECK(e.says("'one'"));
      CHECK(e.says("a semaphore"));
      CHECK(e.says("'two'"));
      CHECK(e.says("a mutex"));
    }
  }

  TEST_CASE("a thread that may still wake somebody is no deadlock") {
    bide::run([] {
      bide::semaphore s;
      std::thread later([&] {
        std::this_thread::sleep_for(100ms);
        s.release();
      });
      s.acquire();
      later.join();
    });
  }

  TEST_CASE("without descriptors for a loop run says what to do") {
    const ending e = in_child([] {
      const rlimit few{3, 3};
      setrlimit(RLIMIT_NOFILE, &few);
      const int error = error_of([] { bide::run([] {}); }, "ulimit -n");
      _exit(error == EMFILE ? 0 : 1);
    });
    CAPTURE(e.text);
    CHECK(e.exited(0));
  }

  TEST_CASE("at the descriptor limit calls answer EMFILE and waits go on") {
    const ending e = in_child([] {
      bide::run([] {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) _exit(1);
        std::vector<int> all;
        const rlimit few{64, 64};
        setrlimit(RLIMIT_NOFILE, &few);
        for (int fd; (fd = dup(0)) >= 0;) all.push_back(fd);
        if (errno != EMFILE) _exit(2);
        int more[2];
        if (pipe(more) != -1 || errno != EMFILE) _exit(3);
        auto reader = bide::spawn([&] {
          char c;
          return read(ends[0], &c, 1);
        });
        usleep(2000);
        if (write(ends[1], "x", 1) != 1 || reader.get() != 1) _exit(4);
      });
    });
    CAPTURE(e.text);
    CHECK(e.exited(0));
  }

  TEST_CASE("without address space for a stack spawn says so, and the others go on") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer reserves more address space than any limit would leave");
      return;
    }
    const ending e = in_child([] {
      bide::run([] {
        const rlimit little{std::size_t{1} << 30, std::size_t{1} << 30};
        setrlimit(RLIMIT_AS, &little);
        int error = 0;
        std::vector<bide::task<void>> all;
        bide::semaphore s;
        while (!error && all.size() < 100'000)
          error = error_of([&] { all.push_back(bide::spawn({.stack_size = 1 << 20}, [&] { s.acquire(); })); }, "stack");
        if (error != ENOMEM) _exit(1);
        s.release(static_cast<std::ptrdiff_t>(all.size()));
        for (auto& t : all) t.join();
      });
    });
    CAPTURE(e.text);
    CHECK(e.exited(0));
  }

  TEST_CASE("a task that was cancelled or has failed says so, however it is awaited, and whatever is awaited beside it") {
    on_workers([] {
      for (const bool cancelled : {true, false}) {
        CAPTURE(cancelled);
        const auto make = [&] {
          auto t = bide::spawn([=]() -> int {
            if (!cancelled) throw std::runtime_error("as it is");
            bide::sleep_for(1h);
            return 0;
          });
          if (cancelled) t.cancel();
          return t;
        };
        const auto says_so = [&](auto wait) {
          try {
            wait();
            return false;
          } catch (const bide::cancelled&) {
            return cancelled;
          } catch (const std::runtime_error& e) {
            return !cancelled && std::string_view(e.what()) == "as it is";
          }
        };
        auto good = bide::spawn([] { return 1; }), bad = make();
        CHECK(says_so([&] { bide::gather(good, bad); }));
        CHECK(says_so([&] { bad.get(); }));
        CHECK(good.get() == 1);
        CHECK(says_so([&] { make().get(); }));
        CHECK(says_so([&] { bide::wait_for(make(), 1h); }));
        CHECK(says_so([&] { bide::shared_task<int>(make()).get(); }));
        auto first = make();
        CHECK(bide::first_of(first) == 0);
        CHECK(says_so([&] { first.get(); }));
        std::vector<bide::task<int>> all;
        all.push_back(make());
        for (auto& t : bide::as_completed(all)) CHECK(says_so([&] { t.get(); }));
        auto ends = make();
        CHECK(bide::select(bide::on_end(ends, [] {})) == 0);
        CHECK(says_so([&] { ends.get(); }));
        auto afar = make();
        bide::offload([&] { CHECK(says_so([&] { afar.get(); })); });
        // Nobody who waited was cancelled by that.
        bide::sleep_for(1us);
      }
    });
  }

  TEST_CASE("with a deadline in the past each wait takes what is there, and else ends at once") {
    on_workers([] {
      using bide::wait_result;
      const auto past = bide::deadline::from_ns(1), early = bide::deadline::after(-1h);
      CHECK(early < bide::deadline::after(0s));
      const auto began = std::chrono::steady_clock::now();
      bide::mutex m;
      bide::shared_mutex sm;
      bide::semaphore s(1);
      bide::event e;
      bide::wait_group g(1);
      bide::condition_variable c;
      bide::channel<int> ch(1);
      std::optional<int> got;
      int value = 3;
      CHECK(m.lock_until(past) == wait_result::ready);
      CHECK(bide::spawn([&] { return m.lock_until(past); }).get() == wait_result::expired);
      CHECK(sm.lock_until(past) == wait_result::ready);
      CHECK(bide::spawn([&] { return sm.lock_shared_until(past); }).get() == wait_result::expired);
      CHECK(s.acquire_until(past) == wait_result::ready);
      CHECK(s.acquire_until(early) == wait_result::expired);
      CHECK(e.wait_until(past) == wait_result::expired);
      CHECK(g.wait_until(past) == wait_result::expired);
      CHECK(c.wait_until(m, past) == wait_result::expired);
      CHECK(c.wait_until(m, past, [] { return true; }) == wait_result::ready);
      CHECK(ch.receive_until(got, past) == wait_result::expired);
      CHECK(ch.send_until(value, past) == wait_result::ready);
      CHECK(ch.send_until(value, past) == wait_result::expired);
      CHECK(ch.receive_until(got, past) == wait_result::ready);
      bide::sleep_until(past);
      bide::sleep_for(-1h);
      auto sleeper = bide::spawn([] { bide::sleep_for(1h); });
      CHECK(sleeper.join(past) == wait_result::expired);
      CHECK(bide::select(bide::on_end(sleeper, [] {}), bide::on_time(past, [] {})) == 1);
      CHECK_THROWS_AS(bide::wait_for(sleeper, -1s), bide::timed_out);
      CHECK(seconds_since(began) < 10);
      m.unlock();
      sm.unlock();
    });
  }

  TEST_CASE("a function that is called back and throws hinders nobody else") {
    const ending e = in_child([] {
      on_workers([] {
        bide::channel<int> c(2);
        c.send(1);
        c.send(2);
        // Of a select it is the caller's exception, and the value is taken.
        try {
          bide::select(bide::on_receive(c, [](int) { throw std::runtime_error("select's"); }));
          _exit(1);
        } catch (const std::runtime_error&) {
        }
        if (c.receive() != 2) _exit(2);
        auto t = bide::spawn([] { return 5; });
        t.on_done([] { throw std::runtime_error("callback's"); });
        t.on_done([](bide::task_state) { throw 7; });
        bool last = false;
        t.on_done([&] { last = true; });
        if (t.get() != 5 || !last) _exit(3);
        t.on_done([] { throw std::runtime_error("late one's"); });
        bide::once_flag flag;
        int error = 0;
        try {
          bide::call_once(flag, [] { throw 1; });
        } catch (int what) {
          error = what;
        }
        bide::call_once(flag, [&] { ++error; });
        if (error != 2) _exit(4);
        try {
          bide::in_group([](bide::group& g) {
            g.spawn([] { bide::sleep_for(1h); });
            throw std::logic_error("block's");
          });
          _exit(5);
        } catch (const std::logic_error&) {
        }
      });
    });
    CAPTURE(e.text);
    CHECK(e.exited(0));
    CHECK(e.says("callback's"));
    CHECK(e.says("late one's"));
    CHECK(e.says("no std::exception"));
  }

  TEST_CASE("an exception that nobody collects is reported with its fiber") {
    const ending dropped = in_child([] {
      bide::run([] {
        auto t = bide::spawn({.name = "careless"}, [] { throw std::runtime_error("lost words"); });
        (void)t.join(bide::deadline::never());
      });
    });
    CHECK(dropped.says("careless"));
    CHECK(dropped.says("lost words"));
    const ending detached = in_child([] {
      bide::run([] {
        bide::spawn({.name = "careless"}, [] { throw std::runtime_error("lost words"); });
        bide::sleep_for(1ms);
      });
    });
    CHECK(detached.says("careless"));
    CHECK(detached.says("lost words"));
  }

  TEST_CASE("a stack overflow names the fiber, its spawn site and its stack, and dies of SIGSEGV") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer reports it itself");
      return;
    }
    const ending e = in_child([] {
      signal(SIGSEGV, SIG_DFL);  // the test program's own
      bide::run([] {
        bide::spawn({.name = "deep", .stack_size = 64 * 1024}, [] {
          volatile char* reach = static_cast<char*>(__builtin_frame_address(0));
          for (;;) *(reach -= 256) = 1;
        }).join();
      });
    });
    CAPTURE(e.text);
    CHECK(e.died_of(SIGSEGV));
    CHECK(e.says("'deep'"));
    CHECK(e.says("bad_input_test.cpp"));
    CHECK(e.says("64 KiB"));
  }
}
