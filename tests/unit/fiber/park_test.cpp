#include "lib/fiber/park.hpp"

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

using namespace unit;
using bide::wait_result;
using bide::core::cancel_point;
using bide::core::waiter;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t never = bide::base::never;

wait_result wait_here(waiter& w, std::int64_t until = never, cancel_point point = cancel_point::yes) {
  return bide::core::park(w, {"a test"}, until, point);
}

}  // namespace

TEST_SUITE("fiber/park") {
  TEST_CASE("the first wake decides how a wait ends, the rest find it decided") {
    on_workers([] {
      std::atomic<waiter*> waits{nullptr};
      auto sleeper = bide::spawn([&] {
        waiter w(waiter::reach::anyone);
        waits = &w;
        return wait_here(w);
      });
      until_parked(1);
      waiter& w = *waits.load();
      // The fiber may be another worker's, and run on as soon as it is woken: so both wakes are made on its home.
      struct both {
        waiter& w;
        bool first = false, second = false;
      } b{w};
      bide::core::run_at(*w.who->home, [](bide::core::worker_core&, void* p) noexcept {
        auto& wakes = *static_cast<both*>(p);
        wakes.first = bide::core::wake(wakes.w, wait_result::closed);
        wakes.second = bide::core::wake(wakes.w, wait_result::ready);
      }, &b);
      CHECK(b.first);
      CHECK_FALSE(b.second);
      CHECK(sleeper.get() == wait_result::closed);
    });
  }

  TEST_CASE("a wake that comes before the park ends it at once") {
    in_runtime([] {
      bool other_ran = false;
      auto other = bide::spawn([&] { other_ran = true; });
      waiter w(waiter::reach::home);
      CHECK(bide::core::wake(w, wait_result::ready));
      CHECK(w.is_decided());
      CHECK(wait_here(w) == wait_result::ready);
      CHECK_FALSE(other_ran);  // no switch was made
      other.join();
    });
  }

  TEST_CASE("a deadline in the past expires, but only what nobody has woken") {
    in_runtime([] {
      waiter late(waiter::reach::home);
      CHECK(wait_here(late, bide::base::now() - 1) == wait_result::expired);
      waiter first(waiter::reach::home);
      CHECK(wait_here(first, 0) == wait_result::expired);
      waiter woken(waiter::reach::home);
      bide::core::wake(woken, wait_result::ready);
      CHECK(wait_here(woken, 0) == wait_result::ready);
    });
  }

  TEST_CASE("a deadline expires at its time, not before") {
    in_runtime([] {
      const std::int64_t until = bide::base::now() + 3'000'000;
      waiter w(waiter::reach::home);
      CHECK(wait_here(w, until) == wait_result::expired);
      CHECK(bide::base::now() >= until);
    });
  }

  TEST_CASE("a wake before the deadline disarms it") {
    in_runtime([] {
      waiter* waits = nullptr;
      auto sleeper = bide::spawn([&] {
        waiter w(waiter::reach::home);
        waits = &w;
        return wait_here(w, bide::base::now() + bide::base::second * 1000);
      });
      until_parked(1);
      CHECK(bide::core::this_worker()->timers.size() == 1);
      bide::core::wake(*waits, wait_result::ready);
      CHECK(sleeper.get() == wait_result::ready);
      CHECK(bide::core::this_worker()->timers.empty());
    });
  }

  TEST_CASE("a cancel ends the wait it finds, and a later one meets the next wait") {
    on_workers([] {
      auto sleeper = bide::spawn([] {
        std::string said;
        for (int i = 0; i < 3; ++i) {
          waiter w(waiter::reach::home);
          const std::int64_t until = i == 1 ? bide::base::now() + 1000 : never;
          said += wait_here(w, until) == wait_result::cancelled ? 'c' : 'e';
        }
        return said;
      });
      until_parked(1);
      sleeper.cancel();  // the first wait; the second expires; then the third is found
      until([&] { return count_fibers().parked == 1; });
      while (!sleeper.done()) {
        // Only once the second has expired: the third never ends by itself.
        bide::sleep_for(microseconds(500));
        sleeper.cancel();
      }
      const std::string said = sleeper.get();
      CHECK((said == "cec" || said == "ccc"));
    });
  }

  TEST_CASE("a cancel before the first wait is kept for it, and is consumed by it") {
    in_runtime([] {
      auto fresh = bide::spawn([] {
        waiter first(waiter::reach::home), second(waiter::reach::home);
        const wait_result a = wait_here(first, bide::base::now() + bide::base::second * 1000);
        const wait_result b = wait_here(second, bide::base::now() + 1000);
        return a == wait_result::cancelled && b == wait_result::expired;
      });
      fresh.cancel();
      fresh.cancel();  // delivered once
      CHECK(fresh.get());
      fresh.cancel();  // one that has ended is left alone
    });
  }

  TEST_CASE("a wait that is no point of cancellation leaves the cancel for the next") {
    in_runtime([] {
      waiter* waits = nullptr;
      auto sleeper = bide::spawn([&] {
        waiter deaf(waiter::reach::home), next(waiter::reach::home);
        waits = &deaf;
        const wait_result a = wait_here(deaf, never, cancel_point::no);
        const wait_result b = wait_here(next);
        return a == wait_result::ready && b == wait_result::cancelled;
      });
      until_parked(1);
      sleeper.cancel();
      bide::yield();
      CHECK_FALSE(sleeper.done());
      bide::core::wake(*waits, wait_result::ready);
      CHECK(sleeper.get());
    });
  }

  TEST_CASE("of a wake and a cancel in the same moment the first counts, and the cancel is not lost") {
    in_runtime([] {
      waiter* waits = nullptr;
      auto sleeper = bide::spawn([&] {
        waiter w(waiter::reach::home), next(waiter::reach::home);
        waits = &w;
        const wait_result a = wait_here(w);
        const wait_result b = wait_here(next);
        return a == wait_result::ready && b == wait_result::cancelled;
      });
      until_parked(1);
      bide::core::wake(*waits, wait_result::ready);
      sleeper.cancel();
      CHECK(sleeper.get());
    });
  }

  TEST_CASE("fibers that yield take turns") {
    in_runtime([] {
      std::string order;
      std::vector<bide::task<void>> tasks;
      for (const char name : {'a', 'b', 'c'}) {
        tasks.push_back(bide::spawn([name, &order] {
          for (int i = 0; i < 200; ++i) {
            order += name;
            bide::yield();
          }
        }));
      }
      for (auto& t : tasks) t.join();
      std::string expected;
      for (int i = 0; i < 200; ++i) expected += "abc";
      CHECK(order == expected);
    });
  }

  TEST_CASE("a spawned fiber starts after its spawner's next wait, in order of spawning") {
    in_runtime([] {
      std::string order;
      std::vector<bide::task<void>> tasks;
      for (const char name : {'a', 'b', 'c'}) tasks.push_back(bide::spawn([name, &order] { order += name; }));
      CHECK(order.empty());
      bide::yield();
      CHECK(order == "abc");
    });
  }

  TEST_CASE("a lone fiber may yield as often as it likes") {
    on_workers([] {
      for (int i = 0; i < rounds(200'000); ++i) bide::yield();
    });
  }

  TEST_CASE("timers, other threads and descriptors get their turn while a lone fiber yields, or several do") {
    for (const int yielding : {1, 3}) {
      CAPTURE(yielding);
      in_runtime([&] {
        bool end = false;
        std::vector<bide::task<void>> others;
        for (int i = 1; i < yielding; ++i) {
          others.push_back(bide::spawn([&] {
            while (!end) bide::yield();
          }));
        }
        auto sleeper = bide::spawn([] { bide::sleep_for(milliseconds(1)); });
        until([&] { return sleeper.done(); });
        bide::semaphore s;
        std::atomic<bool> got{false};
        auto waits = bide::spawn([&] {
          s.acquire();
          got = true;
        });
        std::thread elsewhere([&] { s.release(); });
        until([&] { return got.load(); });
        elsewhere.join();
        end = true;
        for (auto& t : others) t.join();
      });
    }
  }

  TEST_CASE("many waiters of other threads are each woken once") {
    // Plain threads release, fibers on four workers acquire: every permit reaches one of them.
    in_runtime([] {
      constexpr int fibers = 40;
      const int each = rounds(500);
      bide::semaphore permits;
      std::atomic<long> taken{0};
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < fibers; ++i) {
        tasks.push_back(bide::spawn([&] {
          for (int k = 0; k < each; ++k) {
            permits.acquire();
            taken.fetch_add(1, std::memory_order_relaxed);
          }
        }));
      }
      std::vector<std::thread> threads;
      for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&] {
          for (int k = 0; k < fibers * each / 2; ++k) permits.release();
        });
      }
      for (auto& t : tasks) t.join();
      for (std::thread& t : threads) t.join();
      CHECK(taken == fibers * each);
      CHECK_FALSE(permits.try_acquire());
    }, {.workers = 4});
  }

  TEST_CASE("a plain thread waits too, and for no longer than its deadline") {
    waiter w(waiter::reach::home);
    CHECK(w.who == nullptr);
    CHECK(wait_here(w, bide::base::now() + 1'000'000) == wait_result::expired);
    waiter woken(waiter::reach::anyone);
    std::thread waker([&] { bide::core::wake(woken, wait_result::ready); });
    CHECK(wait_here(woken) == wait_result::ready);
    waker.join();
  }
}
