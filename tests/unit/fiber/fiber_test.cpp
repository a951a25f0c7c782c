// A fiber's life: stacks that serve again, requests from other threads, the end that others wait for.
#include "lib/fiber/fiber.hpp"

#include <doctest/doctest.h>

#include <list>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "lib/fiber/worker_core.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

using namespace unit;
using bide::wait_result;
using std::chrono::microseconds;

namespace {

bide::context::stack_counts stacks() { return bide::context::count_stacks(); }

}  // namespace

TEST_SUITE("fiber/fiber") {
  TEST_CASE("the stack of an ended fiber serves the next of its size, newest first") {
    in_runtime([] {
      bide::spawn([] {}).join();
      const std::size_t carved = stacks().carved;
      const auto base = [] { return bide::core::this_fiber()->stack.base; };
      const char* first = bide::spawn(base).get();
      for (int i = 0; i < 100; ++i) REQUIRE(bide::spawn(base).get() == first);
      CHECK(stacks().carved == carved);
    });
  }

  TEST_CASE("stacks of different sizes are not mixed up") {
    in_runtime([] {
      for (int round = 0; round < 3; ++round) {
        for (const std::size_t size : {32 * 1024, 64 * 1024, 1024 * 1024}) {
          const auto got = bide::spawn({.stack_size = size}, [] {
            return bide::core::this_fiber()->stack.size();
          }).get();
          REQUIRE(got == size);
        }
      }
    });
  }

  TEST_CASE("a scrubbed stack has nothing of its former fiber") {
    const auto second_finds = [](bide::stack_reuse reuse) {
      return in_runtime([] {
        // Far below the frames of either fiber.
        constexpr std::size_t depth = 64 * 1024;
        const auto spot = [] { return static_cast<volatile char*>(bide::core::this_fiber()->stack.top() - depth); };
        bide::spawn([&] { *spot() = 'x'; }).join();
        return bide::spawn([&] { return char(*spot()); }).get();
      }, {.reuse = reuse});
    };
    CHECK(second_finds(bide::stack_reuse::scrubbed) == 0);
    CHECK(second_finds(bide::stack_reuse::kept) == 'x');
  }

  TEST_CASE("numbers are never given twice, also across workers and runtimes") {
    std::set<std::uint64_t> seen;
    std::size_t count = 0;
    for (int round = 0; round < 3; ++round) {
      on_workers([&] {
        std::vector<bide::task<std::uint64_t>> tasks;
        for (int i = 0; i < 100; ++i) tasks.push_back(bide::spawn([] { return bide::this_fiber::id(); }));
        for (auto& t : tasks) {
          const std::uint64_t id = t.id();
          CHECK(t.get() == id);
          CHECK(id != 0);
          seen.insert(id);
          ++count;
        }
      });
    }
    CHECK(seen.size() == count);
  }

  TEST_CASE("many wait for one fiber's end, from its worker, others and plain threads") {
    on_workers([] {
      bide::semaphore go;
      auto awaited = bide::spawn([&] { go.acquire(); });
      std::atomic<int> ended{0};
      std::vector<bide::task<void>> fibers;
      std::list<plain_thread> threads;
      for (int i = 0; i < 12; ++i) {
        fibers.push_back(bide::spawn([&] {
          awaited.join();
          ++ended;
        }));
      }
      for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
          awaited.join();
          ++ended;
        });
      }
      until_parked(13);
      CHECK(ended == 0);
      go.release();
      for (auto& t : fibers) t.join();
      threads.clear();
      CHECK(ended == 15);
    });
  }

  TEST_CASE("a join that expires or is cancelled leaves the fiber and its other joiners alone") {
    on_workers([] {
      bide::semaphore go;
      auto awaited = bide::spawn([&] { go.acquire(); });
      std::vector<bide::task<wait_result>> impatient;
      for (int i = 0; i < 6; ++i)
        impatient.push_back(bide::spawn([&] { return awaited.join(bide::deadline::after(microseconds(50))); }));
      auto cancelled = bide::spawn([&] { return awaited.join(bide::deadline::never()); });
      auto patient = bide::spawn([&] { return awaited.join(bide::deadline::never()); });
      for (auto& t : impatient) CHECK(t.get() == wait_result::expired);
      cancelled.cancel();
      CHECK(cancelled.get() == wait_result::cancelled);
      CHECK_FALSE(awaited.done());
      go.release();
      CHECK(patient.get() == wait_result::ready);
      CHECK(awaited.join(bide::deadline::from_ns(0)) == wait_result::ready);
    });
  }

  TEST_CASE("joins that expire while the fiber ends are ready or expired, on any workers") {
    on_workers([] {
      for (int i = 0; i < rounds(300); ++i) {
        auto brief = bide::spawn([] { bide::sleep_for(microseconds(20)); });
        auto joiner = bide::spawn([&] {
          const auto how = brief.join(bide::deadline::after(microseconds(20)));
          return how == wait_result::ready || how == wait_result::expired;
        });
        std::optional<plain_thread> plain;
        if (i % 10 == 0) plain.emplace([&] { (void)brief.join(bide::deadline::after(microseconds(30))); });
        REQUIRE(joiner.get());
        brief.join();
      }
    });
  }

  TEST_CASE("a cancel on its way from another thread survives that the handle is dropped and the fiber ends") {
    // The request must not reach the record of the next fiber on that stack.
    in_runtime([] {
      for (int i = 0; i < 20; ++i) {
        auto brief = bide::spawn([] {});
        std::thread elsewhere([&] { brief.cancel(); });
        elsewhere.join();  // posted, and not delivered: this worker has not left this fiber since
        while (!brief.done()) bide::yield();
        brief = {};
        std::vector<bide::task<int>> next;
        for (int k = 0; k < 3; ++k) {
          next.push_back(bide::spawn([] {
            for (int n = 0; n < 200; ++n) bide::yield();
            return 7;
          }));
        }
        for (auto& t : next) REQUIRE(t.get() == 7);
      }
    });
  }

  TEST_CASE("cancels from all sides and drops at any moment end every fiber once") {
    on_workers([] {
      std::atomic<int> begun{0}, ended{0};
      struct counts_end {
        std::atomic<int>& n;
        ~counts_end() { ++n; }
      };
      for (int round = 0; round < rounds(30); ++round) {
        std::vector<bide::task<void>> tasks;
        for (int i = 0; i < 20; ++i) {
          tasks.push_back(bide::spawn([&] {
            const counts_end at_end{ended};
            ++begun;
            bide::sleep_for(std::chrono::hours(1));
          }));
        }
        std::vector<bide::task<void>> theirs;
        for (int i = 0; i < 10; ++i) {
          theirs.push_back(std::move(tasks.back()));
          tasks.pop_back();
        }
        plain_thread elsewhere([&] {
          for (auto& t : theirs) t.cancel();
          theirs.clear();
        });
        for (auto& t : tasks) t.cancel();
        tasks.clear();
        elsewhere.join();
      }
      while (count_fibers().others) bide::yield();
      CHECK(begun == ended);
    });
  }
}
