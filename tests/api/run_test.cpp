#include "support.hpp"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>

using namespace api;

TEST_SUITE("api/run") {
  TEST_CASE("run returns what its function returns") {
    CHECK(bide::run([] { return 7; }) == 7);
    CHECK(*bide::run([] { return std::make_unique<int>(8); }) == 8);
    int here = 0;
    CHECK(&bide::run([&]() -> int& { return here; }) == &here);
  }

  TEST_CASE("run throws what its function throws") {
    CHECK_THROWS_WITH_AS(bide::run([] { throw std::runtime_error("so"); }), "so", std::runtime_error);
  }

  TEST_CASE("run in a fiber runs the function there and then") {
    bide::run([] {
      const auto outer = bide::this_fiber::id();
      CHECK(bide::run([] { return bide::this_fiber::id(); }) == outer);
    });
  }

  // asyncio.run: makes a loop, cancels and awaits the tasks that are left when main() is over, closes the loop.
  TEST_CASE("fibers alive at the end are cancelled, joined, and unwound") {
    on_workers([] {});
    for (const unsigned workers : {1u, 2u, 4u}) {
      std::atomic<int> unwound = 0;
      struct witness {
        std::atomic<int>& count;
        ~witness() { ++count; }
      };
      bide::run(
          [&] {
            for (int i = 0; i < 10; ++i) {
              bide::spawn([&] {
                const witness w{unwound};
                bide::sleep_for(1h);
              });
              bide::spawn([&] {
                const witness w{unwound};
                while (usleep(1'000'000) == 0) {
                }
              });
            }
            bide::yield();
            bide::sleep_for(10ms);
          },
          {.workers = workers});
      CHECK(unwound == 20);
    }
  }

  TEST_CASE("a runtime may follow another, and two may run at once") {
    for (int i = 0; i < 20; ++i) CHECK(bide::run([] { return bide::spawn([] { return 1; }).get(); }) == 1);
    std::atomic<int> sum = 0;
    std::thread other([&] {
      sum += bide::run([] {
        bide::sleep_for(20ms);
        return 1;
      });
    });
    sum += bide::run([] {
      bide::sleep_for(20ms);
      return 2;
    });
    other.join();
    CHECK(sum == 3);
  }

  TEST_CASE("many fibers sleep at the same time") {
    on_workers([] {
      const auto start = std::chrono::steady_clock::now();
      bide::wait_group all(500);
      for (int i = 0; i < 500; ++i) {
        bide::spawn([&] {
          usleep(50'000);
          all.done();
        });
      }
      all.wait();
      CHECK(seconds_since(start) < 5.0);
    });
  }

  TEST_CASE("a fiber that never waits does not keep timers and descriptors from the others") {
    bide::run([] {
      bool stop = false;
      auto busy = bide::spawn([&] {
        while (!stop) bide::yield();
      });
      int ends[2];
      REQUIRE(pipe(ends) == 0);
      auto reader = bide::spawn([&] {
        char c;
        return read(ends[0], &c, 1);
      });
      bide::sleep_for(5ms);
      REQUIRE(write(ends[1], "x", 1) == 1);
      CHECK(reader.get() == 1);
      stop = true;
      busy.join();
      close(ends[0]);
      close(ends[1]);
    });
  }
}
