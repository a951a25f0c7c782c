#include "support.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <mutex>
#include <stdexcept>

using namespace api;

namespace {

struct pair {
  int ends[2];
  pair() { REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0); }
  ~pair() { close(ends[0]), close(ends[1]); }
};

// Calls `f` under a deadline of 5 ms: what it returned and errno, and that it took about as long.
template <class F>
bool ends_with_etimedout(F f) {
  const auto start = std::chrono::steady_clock::now();
  bide::timeout limit(5ms);
  errno = 0;
  const long n = f();
  const int error = errno;
  CAPTURE(n);
  CAPTURE(error);
  CHECK(seconds_since(start) < 2);
  CHECK(limit.expired());
  CHECK(error == ETIMEDOUT);
  return n == -1;
}

template <class F>
bool times_out(F f) {
  try {
    f();
  } catch (const bide::timed_out& e) {
    return e.code() == std::errc::timed_out;
  }
  return false;
}

}  // namespace

TEST_SUITE("api/timeout") {
  // asyncio: `async with asyncio.timeout(t)` ends each await inside. Here it also ends what asyncio cannot reach.
  TEST_CASE("a deadline around libc calls ends each of them with ETIMEDOUT") {
    on_workers([] {
      pair p;
      char byte;
      CHECK(ends_with_etimedout([&] { return read(p.ends[0], &byte, 1); }));
      CHECK(ends_with_etimedout([&] { return recv(p.ends[0], &byte, 1, 0); }));
      pollfd one{p.ends[0], POLLIN, 0};
      CHECK(ends_with_etimedout([&] { return poll(&one, 1, 60'000); }));
      one.events = POLLPRI;  // through a set of its own
      CHECK(ends_with_etimedout([&] { return poll(&one, 1, -1); }));
      CHECK(ends_with_etimedout([&] { return usleep(900'000); }));
      const int counter = eventfd(0, 0);
      eventfd_t count;
      CHECK(ends_with_etimedout([&] { return read(counter, &count, sizeof count); }));
      close(counter);
      const int listener = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in here{AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {}};
      REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&here), sizeof here) == 0);
      REQUIRE(listen(listener, 1) == 0);
      CHECK(ends_with_etimedout([&] { return accept(listener, nullptr, nullptr); }));
      close(listener);
      bide::timeout limit(5ms);
      CHECK(sleep(5) > 0);
      CHECK(errno == ETIMEDOUT);
    });
  }

  TEST_CASE("a write that has moved something returns it, and the next one ends with ETIMEDOUT") {
    bide::run([] {
      pair p;
      const std::string much(1 << 22, 'x');
      bide::timeout limit(10ms);
      const ssize_t first = write(p.ends[0], much.data(), much.size());
      CHECK(first > 0);
      CHECK(first < static_cast<ssize_t>(much.size()));
      CHECK(write(p.ends[0], much.data(), much.size()) == -1);
      CHECK(errno == ETIMEDOUT);
      char byte;
      CHECK(read(p.ends[1], &byte, 1) == 1);  // needs no wait, so it succeeds
    });
  }

  TEST_CASE("a deadline around this API's waits throws timed_out") {
    on_workers([] {
      bide::semaphore none;
      bide::mutex held;
      held.lock();
      bide::condition_variable never;
      bide::wait_group group(1);
      auto forever = bide::spawn([] { bide::sleep_for(1h); });
      const auto in_time = [](auto f) {
        return times_out([&] {
          bide::timeout limit(3ms);
          f();
        });
      };
      CHECK(in_time([&] { none.acquire(); }));
      CHECK(in_time([&] { held.lock(); }));
      CHECK(in_time([&] { group.wait(); }));
      CHECK(in_time([&] { forever.get(); }));
      CHECK(in_time([&] { bide::sleep_for(1h); }));
      bide::mutex m;
      CHECK(in_time([&] {
        std::unique_lock lock(m);
        try {
          never.wait(lock);
        } catch (...) {
          CHECK(lock.owns_lock());
          throw;
        }
      }));
      bide::timeout limit(3ms);
      CHECK(none.acquire_until(bide::deadline::after(1h)) == bide::wait_result::timed_out);
      CHECK(none.acquire_until(bide::deadline::from_ns(0)) != bide::wait_result::ready);
      forever.cancel();
    });
  }

  // asyncio: nested timeouts, the inner or the outer one ends the wait; each handler catches its own.
  TEST_CASE("scopes nest, the earliest deadline counts, and what was outside goes on") {
    bide::run([] {
      bide::timeout outer(1h);
      {
        bide::timeout inner(3ms);
        CHECK(times_out([] { bide::sleep_for(1h); }));
        CHECK(times_out([] { bide::sleep_for(1h); }));  // it stays: every wait within
        CHECK(inner.expired());
        CHECK(!outer.expired());
      }
      bide::sleep_for(1ms);
      outer.reschedule(bide::deadline::after(2ms));
      bide::timeout longer(1h);
      CHECK(times_out([] { bide::sleep_for(1h); }));
      CHECK(outer.expired());
      CHECK(!longer.expired());
    });
  }

  TEST_CASE("a deadline in the past ends the first wait at once, and lets through what needs none") {
    bide::run([] {
      bide::semaphore one(1);
      bide::timeout past(bide::deadline::from_ns(1));
      one.acquire();
      const auto start = std::chrono::steady_clock::now();
      CHECK(times_out([] { bide::sleep_for(1h); }));
      CHECK(seconds_since(start) < 1);
      bide::timeout negative(-5s);
      CHECK(times_out([&] { one.acquire(); }));
    });
  }

  TEST_CASE("a timeout outside a fiber is refused") {
    CHECK(error_of([] { bide::timeout limit(1s); }, "outside a fiber") == EPERM);
  }

  // asyncio: a timeout is its task's, not that of the tasks it creates.
  TEST_CASE("a deadline does not reach the fibers spawned under it") {
    on_workers([] {
      bide::timeout limit(2ms);
      auto child = bide::spawn([] { bide::sleep_for(10ms); });
      bide::shield([&] { child.get(); });
    });
  }

  // asyncio.wait_for: TimeoutError, and the task is cancelled and has ended by then.
  TEST_CASE("wait_for gives the result in time; else cancels the task, waits for its end and throws timed_out") {
    on_workers([] {
      CHECK(bide::wait_for([] { return 7; }, 1h) == 7);
      bool unwound = false;
      auto slow = bide::spawn([&] {
        struct note {
          bool& flag;
          ~note() { flag = true; }
        } at_end{unwound};
        bide::sleep_for(1h);
      });
      CHECK(times_out([&] { bide::wait_for(slow, 3ms); }));
      CHECK(unwound);
      CHECK(slow.state() == bide::task_state::cancelled);
      CHECK_THROWS_AS(bide::wait_for([] { throw std::logic_error("why"); }, 1h), std::logic_error);
    });
  }

  TEST_CASE("wait_for does not lose what a task returns in spite of its cancel") {
    bide::run([] {
      auto stubborn = bide::spawn([] {
        usleep(900'000);  // ends with ECANCELED
        return 5;
      });
      CHECK(bide::wait_for(stubborn, 2ms) == 5);
    });
  }

  TEST_CASE("wait_for with a deadline in the past takes what is there") {
    bide::run([] {
      auto t = bide::spawn([] { return 1; });
      t.join();
      CHECK(bide::wait_for(t, bide::deadline::from_ns(0)) == 1);
    });
  }

  // asyncio.shield: wait_for(shield(task)) times out and the task goes on.
  TEST_CASE("a shielded task goes on when the wait for it ends") {
    on_workers([] {
      auto t = bide::spawn([] {
        bide::sleep_for(200ms);
        return 3;
      });
      CHECK(times_out([&] { bide::wait_for(bide::shield(t), 1ms); }));
      CHECK(t.get() == 3);
    });
  }

  TEST_CASE("what is called shielded is finished, and a cancel that came meanwhile ends the next wait") {
    on_workers([] {
      bool finished = false;
      auto t = bide::spawn([&] {
        bide::timeout limit(1ms);
        bide::shield([&] {
          bide::sleep_for(8ms);
          CHECK(usleep(1000) == 0);
          finished = true;
        });
        CHECK(limit.expired());
        bide::sleep_for(1h);
      });
      bide::sleep_for(2ms);
      t.cancel();
      CHECK_THROWS(t.get());
      CHECK(finished);
    });
  }

  TEST_CASE("asked to, a libc call ended from outside unwinds") {
#ifdef __SANITIZE_THREAD__
    MESSAGE("skipped: ThreadSanitizer's own usleep, through which it goes, isn't left by an exception");
    return;
#endif
    on_workers([] {
      bool destroyed = false;
      auto t = bide::spawn({.libc_calls = bide::ended_call::unwinds}, [&] {
        struct note {
          bool& flag;
          ~note() { flag = true; }
        } at_end{destroyed};
        usleep(900'000);
        FAIL("it returned");
      });
      bide::sleep_for(1ms);
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
      CHECK(destroyed);
      auto late = bide::spawn({.libc_calls = bide::ended_call::unwinds}, [] {
        bide::timeout limit(1ms);
        pair p;
        char byte;
        read(p.ends[0], &byte, 1);
      });
      CHECK_THROWS_AS(late.get(), bide::timed_out);
    });
  }
}
