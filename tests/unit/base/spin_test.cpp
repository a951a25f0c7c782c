#include "lib/base/spin.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "lib/base/clock.hpp"
#include "support/sanitizer.hpp"

using namespace bide::base;

TEST_SUITE("base/spin") {
  TEST_CASE("one thread at a time is inside") {
    std::atomic<std::uint32_t> lock{0};
    long count = 0;  // guarded by lock
    std::vector<std::thread> threads;
    const int each = unit::rounds(50'000);
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < each; ++k) {
          const spin_guard guard(lock);
          ++count;
        }
      });
    }
    for (std::thread& t : threads) t.join();
    CHECK(count == 4L * each);
    CHECK(lock == 0);
  }

  TEST_CASE("passing waits for the holder of the moment to let go") {
    std::atomic<std::uint32_t> lock{0};
    int written = 0;  // guarded by lock
    spin_lock(lock);
    std::thread passer([&] {
      spin_pass(lock);
      CHECK(written == 1);
    });
    written = 1;
    spin_unlock(lock);
    passer.join();
  }
}

TEST_SUITE("base/clock") {
  TEST_CASE("a sum of times ends at never") {
    CHECK(after(1, 2) == 3);
    CHECK(after(never, 0) == never);
    CHECK(after(1, never) == never);
    CHECK(after(never - 1, 1) == never);
    CHECK(after(never - 1, 2) == never);
  }

  TEST_CASE("the clock is the monotonic one and does not go back") {
    timespec kernel;
    const std::int64_t before = now();
    clock_gettime(CLOCK_MONOTONIC, &kernel);
    const std::int64_t later = now();
    const std::int64_t between = kernel.tv_sec * second + kernel.tv_nsec;
    CHECK(before <= between);
    CHECK(between <= later);
    CHECK(to_timespec(3 * second + 5).tv_sec == 3);
    CHECK(to_timespec(3 * second + 5).tv_nsec == 5);
  }
}
