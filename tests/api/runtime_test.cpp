#include "support.hpp"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

using namespace api;

namespace {

// Steps a runtime from a poll loop of its own, as a program's loop would, until `done`.
template <class F>
void step_until(bide::runtime& rt, F done) {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!done()) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    pollfd one{rt.fd(), POLLIN, 0};
    REQUIRE(poll(&one, 1, 10'000) >= 0);
    rt.poll();
  }
}

}  // namespace

TEST_SUITE("api/runtime") {
  TEST_CASE("a runtime beside the program's threads takes work and gives results back") {
    for (const unsigned workers : {1u, 2u, 4u}) {
      bide::runtime fibers({.workers = workers});
      CHECK(fibers.spawn([] { return usleep(1000); }).get() == 0);
      CHECK(fibers.spawn({.name = "named"}, [](int a) { return bide::this_fiber::name() + std::to_string(a); }, 1).get() ==
            "named1");
      auto future = fibers.submit([](int a, int b) { return a * b; }, 6, 7);
      CHECK(future.get() == 42);
      CHECK_THROWS_AS(fibers.submit([] { throw std::logic_error("why"); }).get(), std::logic_error);
      std::atomic<int> sum = 0;
      std::vector<std::thread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
          std::vector<bide::task<void>> mine;
          for (int i = 0; i < 100; ++i) mine.push_back(fibers.spawn([&] { bide::yield(), ++sum; }));
          for (auto& m : mine) m.get();
        });
      }
      for (auto& t : threads) t.join();
      CHECK(sum == 400);
    }
  }

  TEST_CASE("its end cancels what is left") {
    std::optional<bide::task<void>> left;
    bide::runtime_handle handle;
    {
      bide::runtime fibers;
      handle = fibers.handle();
      CHECK(handle);
      left = fibers.spawn([] { bide::sleep_for(1h); });
      CHECK(fibers.fibers() == 1);
    }
    CHECK(left->state() == bide::task_state::cancelled);
    CHECK_THROWS_AS(left->get(), bide::cancelled);
    CHECK(!handle);
    CHECK(error_of([&] { handle.spawn([] {}); }, "ended") == EPERM);
    CHECK(error_of([] { bide::runtime_handle().spawn([] {}); }) == EPERM);
    CHECK(error_of([] { bide::runtime_handle::current(); }, "outside a fiber") == EPERM);
    CHECK(error_of([] { bide::runtime bad({.workers = 0}); }, "workers") == EINVAL);
  }

  // asyncio: loop.call_soon_threadsafe, run_coroutine_threadsafe.
  TEST_CASE("another thread hands work to the runtime that run started") {
    for (const unsigned workers : {1u, 2u, 4u}) {
      bide::runtime_handle kept;
      std::thread other;
      bide::run([&] {
        kept = bide::runtime_handle::current();
        bide::event called;
        int got = 0;
        other = std::thread([&, here = kept] {
          got = here.spawn([] { return bide::this_fiber::id() != 0 ? 5 : 0; }).get();
          here.post([&] { called.set(); });
        });
        called.wait();
        CHECK(got == 5);
      }, {.workers = workers});
      other.join();
      CHECK(!kept);
    }
  }

  // asyncio needs nest_asyncio for that.
  TEST_CASE("run inside a running runtime runs there and then") {
    CHECK(bide::run([] { return bide::run([] { return bide::spawn([] { return 3; }).get(); }); }) == 3);
    bide::runtime beside;
    CHECK(beside.spawn([] { return bide::run([] { return 4; }); }).get() == 4);
    bide::run([&] { CHECK(beside.spawn([] { return 6; }).get() == 6); });  // from a fiber of another runtime
  }

  TEST_CASE("a runtime is stepped from a foreign loop: descriptors, timers, yields and other threads' work") {
    bide::runtime fibers(bide::stepped);
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    std::string got;
    auto reader = fibers.spawn([&] {
      char byte;
      while (read(ends[0], &byte, 1) == 1) got += byte;
    });
    auto sleeper = fibers.spawn([] { bide::sleep_for(3ms); });
    step_until(fibers, [&] { return sleeper.done(); });
    CHECK(write(ends[1], "ab", 2) == 2);
    step_until(fibers, [&] { return got == "ab"; });
    auto yields = fibers.spawn([] { for (int i = 0; i < 1000; ++i) bide::yield(); });
    step_until(fibers, [&] { return yields.done(); });
    std::atomic<bool> handed = false;
    std::thread other([&] {
      for (int i = 0; i < 20; ++i) fibers.spawn([] { return bide::this_fiber::id(); }).get();
      handed = true;
    });
    step_until(fibers, [&] { return handed.load(); });
    other.join();
    auto works = fibers.spawn([] { return bide::offload([] { return 8; }); });
    step_until(fibers, [&] { return works.done(); });
    CHECK(works.get() == 8);
    close(ends[1]);
    step_until(fibers, [&] { return reader.done(); });
    close(ends[0]);
    CHECK(fibers.fibers() == 0);
    CHECK(fibers.poll() == bide::deadline::never());
    pollfd one{fibers.fd(), POLLIN, 0};
    CHECK(poll(&one, 1, 0) == 0);
    auto left = fibers.spawn([] { bide::sleep_for(1h); });
    fibers.poll();
    CHECK(fibers.fibers() == 1);
  }

  // asyncio: remove_reader before the close, on the loop's own thread. Here any thread just closes, and waits for no step.
  TEST_CASE("closing what a stepped runtime waits for needs no step, on the thread that steps it or on another") {
    for (const bool same_thread : {true, false}) {
      CAPTURE(same_thread);
      bide::runtime fibers(bide::stepped);
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
      int error = 0;
      auto reader = fibers.spawn([&] {
        char byte;
        if (read(ends[0], &byte, 1) < 0) error = errno;
      });
      step_until(fibers, [&] { return reader.state() == bide::task_state::parked; });
      if (same_thread)
        CHECK(close(ends[0]) == 0);
      else
        std::thread([&] { CHECK(close(ends[0]) == 0); }).join();
      CHECK(!reader.done());
      pollfd one{fibers.fd(), POLLIN, 0};
      CHECK(poll(&one, 1, 0) == 1);  // the reader has something to do
      step_until(fibers, [&] { return reader.done(); });
      CHECK(error == EBADF);
      // The number is free: another description under it is watched anew.
      int more[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, more) == 0);
      REQUIRE(more[0] == ends[0]);
      auto again = fibers.spawn([&] {
        char byte = 0;
        return read(more[0], &byte, 1) == 1 ? byte : '?';
      });
      step_until(fibers, [&] { return again.state() == bide::task_state::parked; });
      CHECK(write(more[1], "y", 1) == 1);
      step_until(fibers, [&] { return again.done(); });
      CHECK(again.get() == 'y');
      for (const int fd : {more[0], more[1], ends[1]}) close(fd);
    }
  }

  TEST_CASE("descriptors are closed on another thread while a runtime is stepped") {
    bide::runtime fibers(bide::stepped);
    std::atomic<bool> over = false;
    std::thread closer([&] {
      for (int i = 0; i < 200; ++i) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) break;
        auto reader = fibers.spawn([fd = ends[0]] {
          char byte;
          return read(fd, &byte, 1) < 0 ? errno : 0;
        });
        while (reader.state() < bide::task_state::parked) std::this_thread::yield();
        syscall(SYS_close, ends[0]);  // ThreadSanitizer takes a close(2) beside a read(2) for a mistake
        close(ends[1]);
        CHECK(reader.get() == EBADF);
      }
      over = true;
    });
    step_until(fibers, [&] { return over.load(); });
    closer.join();
    CHECK(fibers.fibers() == 0);
  }

  // asyncio: run_until_complete within the loop is refused as well.
  TEST_CASE("the thread that steps a runtime is told that it can't wait for its fibers for ever") {
    bide::runtime fibers(bide::stepped), threaded;
    auto sleeper = fibers.spawn([] { bide::sleep_for(1ms); return 5; });
    auto other = threaded.spawn([] { return 6; });
    CHECK(error_of([&] { sleeper.get(); }, "runtime::poll()") == EDEADLK);
    CHECK(error_of([&] { bide::gather(sleeper, other); }, "runtime::poll()") == EDEADLK);
    CHECK(bide::first_of(sleeper, other) == 1);
    CHECK(other.get() == 6);
    // Within bounds it may, in vain; what it left in the runtime's inbox is taken back in order.
    CHECK(sleeper.join(bide::deadline::after(1ms)) == bide::wait_result::expired);
    int result = 0;
    std::thread([&] {
      CHECK(sleeper.join(bide::deadline::after(1ms)) == bide::wait_result::expired);
    }).join();
    step_until(fibers, [&] { return sleeper.done(); });
    std::thread([&] { result = sleeper.get(); }).join();
    CHECK(result == 5);
  }

  TEST_CASE("a step runs for a while, never for ever, and says when it wants the next") {
    bide::runtime fibers(bide::stepped);
    std::atomic<bool> over = false;
    auto spins = fibers.spawn([&] { while (!over) bide::yield(); });
    CHECK(fibers.poll() < bide::deadline::after(0s));
    pollfd one{fibers.fd(), POLLIN, 0};
    CHECK(poll(&one, 1, 0) == 1);
    over = true;
    step_until(fibers, [&] { return spins.done(); });
    auto sleeps = fibers.spawn([] { bide::sleep_for(50ms); });
    const auto next = fibers.poll();
    CHECK(next > bide::deadline::after(0s));
    CHECK(next < bide::deadline::after(60ms));
  }

  TEST_CASE("the child of a fork is free of its parent's runtimes") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer's state does not follow a fork with fibers");
      return;
    }
    const ending e = in_child([] {
      bide::runtime threaded, stepping(bide::stepped);
      auto t = threaded.spawn([] { bide::sleep_for(1h); });
      const pid_t child = fork();
      int status = 0;
      if (child == 0) {
        {
          bide::runtime own;
          if (own.spawn([] { return 3; }).get() != 3) _exit(1);
        }
        return;
      }
      if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) _exit(2);
    });
    CAPTURE(e.text);
    CHECK(e.exited(0));
  }

  TEST_CASE("what a runtime is not made for is refused") {
    bide::runtime threaded, stepping(bide::stepped);
    CHECK(error_of([&] { threaded.poll(); }, "stepped") == EINVAL);
    CHECK(error_of([&] { threaded.fd(); }, "stepped") == EINVAL);
    int error = 0;
    std::thread([&] { error = error_of([&] { stepping.poll(); }, "another thread"); }).join();
    CHECK(error == EPERM);
    bide::run([&] {
      CHECK(error_of([&] { stepping.poll(); }, "on a worker") == EPERM);
      CHECK(error_of([] { bide::runtime inner(bide::stepped); }, "within a runtime") == EPERM);
    });
  }
}
