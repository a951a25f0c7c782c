#include <bide/this_fiber.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/context/stack.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

using namespace unit;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

[[gnu::noinline]] void use_stack(std::size_t bytes) {
  auto* room = static_cast<volatile char*>(__builtin_alloca(bytes));
  for (std::size_t at = 0; at < bytes; at += 512) room[at] = 1;
}

}  // namespace

TEST_SUITE("task/this_fiber") {
  TEST_CASE("a plain thread has no number and no name, yields and sleeps") {
    CHECK(bide::this_fiber::id() == 0);
    CHECK(bide::this_fiber::name().empty());
    CHECK(bide::this_fiber::stack_peak() == 0);
    bide::yield();
    const std::int64_t before = bide::base::now();
    bide::sleep_for(microseconds(200));
    CHECK(bide::base::now() - before >= 200'000);
    bide::sleep_for(microseconds(-5));
    bide::sleep_until(bide::deadline::from_ns(0));
  }

  TEST_CASE("the first fiber is called main") {
    in_runtime([] {
      CHECK(bide::this_fiber::name() == "main");
      CHECK(bide::this_fiber::id() != 0);
    });
  }

  TEST_CASE("the peak of a stack is what was used of it, in whole pages, and does not sink") {
    SKIP_IF(asan, "its fake stacks hold the frames");
    in_runtime([] {
      bide::spawn({.stack_size = 1 << 20}, [] {
        const std::size_t before = bide::this_fiber::stack_peak();
        CHECK(before >= 4096);
        CHECK(before % 4096 == 0);
        CHECK(before < 64 * 1024);
        use_stack(500'000);
        const std::size_t after = bide::this_fiber::stack_peak();
        CHECK(after >= 500'000);
        CHECK(after < 600'000);
        CHECK(bide::this_fiber::stack_peak() == after);
      }).get();
    });
  }

  TEST_CASE("sleepers wake in the order of their times, not of their sleeping") {
    in_runtime([] {
      std::vector<int> order;
      std::vector<bide::task<void>> tasks;
      const auto start = bide::base::now();
      for (const int ms : {5, 1, 4, 2, 3}) {
        tasks.push_back(bide::spawn([=, &order] {
          bide::sleep_until(bide::deadline::from_ns(start + ms * 50'000'000));
          order.push_back(ms);
        }));
      }
      for (auto& t : tasks) t.join();
      CHECK(order == std::vector{1, 2, 3, 4, 5});
    });
  }

  TEST_CASE("a sleep is never short, and many at the same time take no longer than one") {
    on_workers([] {
      const std::int64_t start = bide::base::now();
      std::vector<bide::task<bool>> tasks;
      for (int i = 0; i < 200; ++i) {
        tasks.push_back(bide::spawn([] {
          const std::int64_t before = bide::base::now();
          bide::sleep_for(milliseconds(20));
          return bide::base::now() - before >= 20'000'000;
        }));
      }
      bool enough = true;
      for (auto& t : tasks) enough = t.get() && enough;
      CHECK(enough);
      CHECK(bide::base::now() - start < 200 * 20'000'000LL);
    });
  }

  TEST_CASE("no time at all does not park") {
    in_runtime([] {
      bool ran = false;
      auto other = bide::spawn([&] { ran = true; });
      bide::sleep_for(microseconds(0));
      bide::sleep_for(milliseconds(-1));
      bide::sleep_until(bide::deadline(std::chrono::steady_clock::now()));
      CHECK_FALSE(ran);
      other.join();
    });
  }

  TEST_CASE("a sleep beyond the end of time is one that only a cancel ends") {
    in_runtime([] {
      auto t = bide::spawn([] { bide::sleep_for(std::chrono::hours::max()); });
      until_parked(1);
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
    });
  }
}

TEST_SUITE("wait/deadline") {
  TEST_CASE("a deadline is a point of the monotonic clock, rounded up, and never is the last of all") {
    using bide::deadline;
    CHECK(deadline().is_never());
    CHECK(deadline::never() == deadline());
    CHECK(deadline::from_ns(5).ns() == 5);
    CHECK(deadline::from_ns(5) < deadline::never());
    CHECK(deadline::after(std::chrono::hours::max()).is_never());
    CHECK(deadline::after(std::chrono::duration<double>(1e300)).is_never());
    const std::int64_t before = bide::base::now();
    const deadline soon = deadline::after(std::chrono::duration<double, std::nano>(10.5));
    CHECK(soon.ns() >= before + 11);
    const deadline past = deadline::after(std::chrono::seconds(-3));
    CHECK(past.ns() <= bide::base::now());
    const auto point = std::chrono::steady_clock::now();
    CHECK(deadline(point).ns() == point.time_since_epoch().count());
  }
}
