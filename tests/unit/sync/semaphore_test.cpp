#include <bide/semaphore.hpp>

#include <doctest/doctest.h>

#include <list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

using namespace unit;
using bide::deadline;
using bide::wait_result;
using std::chrono::microseconds;

TEST_SUITE("sync/semaphore") {
  TEST_CASE("permits are counted") {
    bide::semaphore s(2);
    CHECK(s.try_acquire());
    CHECK(s.acquire_until(deadline::from_ns(0)) == wait_result::ready);  // a past deadline still takes a free permit
    CHECK_FALSE(s.try_acquire());
    CHECK(s.acquire_until(deadline::from_ns(0)) == wait_result::expired);
    s.release(3);
    for (int i = 0; i < 3; ++i) CHECK(s.try_acquire());
    CHECK_FALSE(s.try_acquire());
  }

  TEST_CASE("a release serves the longest waiter, not a newcomer") {
    on_workers([] {
      bide::semaphore s;
      bide::mutex m;
      std::string order;  // guarded by m
      std::vector<bide::task<void>> tasks;
      for (const char name : {'a', 'b', 'c', 'd'}) {
        tasks.push_back(bide::spawn([&, name] {
          s.acquire();
          m.lock();
          order += name;
          m.unlock();
        }));
        until_parked(static_cast<unsigned>(tasks.size()));
      }
      for (auto& t : tasks) {
        s.release();
        CHECK_FALSE(s.try_acquire());
        t.join();
      }
      CHECK(order == "abcd");
    });
  }

  TEST_CASE("one release of several serves as many waiters and keeps the rest") {
    on_workers([] {
      bide::semaphore s;
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < 3; ++i) tasks.push_back(bide::spawn([&] { s.acquire(); }));
      until_parked(3);
      s.release(5);
      for (auto& t : tasks) t.join();
      CHECK(s.try_acquire());
      CHECK(s.try_acquire());
      CHECK_FALSE(s.try_acquire());
    });
  }

  TEST_CASE("acquire throws on a cancel, with nothing taken") {
    on_workers([] {
      bide::semaphore s;
      auto waits = bide::spawn([&] { s.acquire(); });
      until_parked(1);
      waits.cancel();
      CHECK_THROWS_AS(waits.get(), bide::cancelled);
      s.release();
      CHECK(s.try_acquire());
    });
  }

  TEST_CASE("fibers and plain threads wait for each other") {
    on_workers([] {
      bide::semaphore there, back;
      std::list<plain_thread> threads;
      threads.emplace_back([&] {
        for (int i = 0; i < rounds(500); ++i) {
          there.acquire();
          back.release();
        }
      });
      for (int i = 0; i < rounds(500); ++i) {
        there.release();
        back.acquire();
      }
      threads.clear();
      CHECK_FALSE(there.try_acquire());
      CHECK_FALSE(back.try_acquire());
    });
  }

  TEST_CASE("under deadlines and cancels at random no permit is lost or made") {
    on_workers([] {
      bide::semaphore s;
      std::atomic<long> taken{0}, given{0};
      std::atomic<bool> end{false};
      std::vector<bide::task<void>> tasks;
      for (unsigned i = 0; i < 16; ++i) {
        tasks.push_back(bide::spawn([&, i] {
          std::mt19937 random(i);
          while (!end) {
            const auto until = random() % 2 ? deadline::after(microseconds(random() % 50)) : deadline::never();
            taken += s.acquire_until(until) == wait_result::ready;
            if (random() % 8 == 0) bide::yield();
          }
        }));
      }
      std::list<plain_thread> threads;
      for (unsigned i = 0; i < 2; ++i) {
        threads.emplace_back([&, i] {
          std::mt19937 random(i + 50);
          for (int k = 0; k < rounds(3000); ++k) {
            const auto n = static_cast<std::ptrdiff_t>(random() % 3);
            s.release(n);
            given += n;
            if (random() % 4 == 0) taken += s.acquire_until(deadline::after(microseconds(5))) == wait_result::ready;
          }
        });
      }
      std::mt19937 random(99);
      for (int i = 0; i < rounds(500); ++i) {
        tasks[random() % tasks.size()].cancel();
        bide::sleep_for(microseconds(10));
      }
      threads.clear();
      end = true;
      for (auto& t : tasks) {
        while (!t.done()) {
          t.cancel();
          bide::yield();
        }
        t.join();
      }
      long left = 0;
      while (s.try_acquire()) ++left;
      CHECK(taken + left == given);
    });
  }

  TEST_CASE("a semaphore may be destroyed by the one that its last release woke") {
    on_workers([] {
      for (int i = 0; i < rounds(300); ++i) {
        auto s = std::make_unique<bide::semaphore>();
        auto last = bide::spawn([&s] {
          s->acquire();
          s.reset();
        });
        if (i % 2) until_parked(1);
        s->release();
        last.join();
      }
    });
  }

  TEST_CASE("a plain thread that is woken may destroy it as well") {
    in_runtime([] {
      for (int i = 0; i < rounds(200); ++i) {
        auto s = std::make_unique<bide::semaphore>();
        bide::semaphore& there = *s;
        plain_thread last([&s] {
          s->acquire();
          s.reset();
        });
        there.release();
        last.join();
      }
    });
  }
}
