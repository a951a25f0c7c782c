#include <bide/condition_variable.hpp>

#include <doctest/doctest.h>

#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

using namespace unit;
using bide::deadline;
using bide::wait_result;
using lock = std::unique_lock<bide::mutex>;

TEST_SUITE("sync/condition_variable") {
  TEST_CASE("notify_one wakes the longest waiter, with the lock held again") {
    on_workers([] {
      bide::mutex m;
      bide::condition_variable c;
      std::string order;  // guarded by m
      std::vector<bide::task<void>> tasks;
      for (const char name : {'a', 'b', 'c'}) {
        tasks.push_back(bide::spawn([&, name] {
          lock l(m);
          c.wait(l);
          CHECK(l.owns_lock());
          CHECK_FALSE(m.try_lock());
          order += name;
        }));
        until_parked(static_cast<unsigned>(tasks.size()));
      }
      for (auto& t : tasks) {
        c.notify_one();
        t.join();
      }
      CHECK(order == "abc");
    });
  }

  TEST_CASE("notify_all wakes who waits now and nobody later") {
    on_workers([] {
      bide::mutex m;
      bide::condition_variable c;
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < 5; ++i) {
        tasks.push_back(bide::spawn([&] {
          lock l(m);
          c.wait(l);
        }));
      }
      until_parked(5);
      c.notify_all();
      for (auto& t : tasks) t.join();
      lock l(m);
      CHECK(c.wait_until(l, deadline::after(std::chrono::microseconds(100))) == wait_result::expired);
      CHECK(l.owns_lock());
    });
  }

  TEST_CASE("a wait with a condition ends when it holds, whatever else happens") {
    on_workers([] {
      bide::mutex m;
      bide::condition_variable c;
      int value = 0;  // guarded by m
      auto waits = bide::spawn([&] {
        lock l(m);
        c.wait(l, [&] { return value == 3; });
        return value;
      });
      for (int i = 1; i <= 3; ++i) {
        until_parked(1);
        {
          const lock l(m);
          value = i;
        }
        c.notify_all();
      }
      CHECK(waits.get() == 3);
      lock l(m);
      CHECK(c.wait_until(l, deadline::from_ns(0), [&] { return value == 3; }) == wait_result::ready);
      CHECK(c.wait_until(l, deadline::from_ns(0), [&] { return value == 4; }) == wait_result::expired);
    });
  }

  TEST_CASE("a cancelled wait throws with the lock held") {
    on_workers([] {
      bide::mutex m;
      bide::condition_variable c;
      bool held = false;
      auto waits = bide::spawn([&] {
        lock l(m);
        try {
          c.wait(l);
        } catch (const bide::cancelled&) {
          held = l.owns_lock() && !m.try_lock();
          throw;
        }
      });
      until_parked(1);
      m.lock();
      waits.cancel();
      for (int i = 0; i < 10; ++i) bide::yield();
      CHECK_FALSE(waits.done());  // it waits for the lock
      m.unlock();
      CHECK_THROWS_AS(waits.get(), bide::cancelled);
      CHECK(held);
    });
  }

  TEST_CASE("any lock will do") {
    in_runtime([] {
      bide::local_mutex m;
      bide::condition_variable c;
      bool set = false;
      auto waits = bide::spawn([&] {
        std::unique_lock l(m);
        c.wait(l, [&] { return set; });
      });
      until_parked(1);
      set = true;
      c.notify_one();
      waits.join();
    });
  }

  TEST_CASE("a bounded queue between fibers and plain threads passes everything once and in order") {
    on_workers([] {
      constexpr std::size_t room = 4;
      const int each = rounds(250);
      bide::mutex m;
      bide::condition_variable not_empty, not_full;
      std::deque<int> queue;  // guarded by m
      long sum = 0;           // guarded by m
      const auto produce = [&] {
        for (int i = 1; i <= each; ++i) {
          lock l(m);
          not_full.wait(l, [&] { return queue.size() < room; });
          queue.push_back(i);
          not_empty.notify_one();
        }
      };
      const auto consume = [&] {
        for (int i = 0; i < each; ++i) {
          lock l(m);
          not_empty.wait(l, [&] { return !queue.empty(); });
          sum += queue.front();
          queue.pop_front();
          not_full.notify_one();
        }
      };
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < 3; ++i) {
        tasks.push_back(bide::spawn(produce));
        tasks.push_back(bide::spawn(consume));
      }
      std::list<plain_thread> threads;
      threads.emplace_back(produce);
      threads.emplace_back(consume);
      for (auto& t : tasks) t.join();
      threads.clear();
      CHECK(queue.empty());
      CHECK(sum == 4L * each * (each + 1) / 2);
    });
  }

  TEST_CASE("it may be destroyed by the one that was notified last") {
    on_workers([] {
      struct both {
        bide::mutex m;
        bide::condition_variable c;
        bool set = false;
      };
      for (int i = 0; i < rounds(300); ++i) {
        auto b = std::make_unique<both>();
        auto last = bide::spawn([&b] {
          {
            lock l(b->m);
            b->c.wait(l, [&] { return b->set; });
          }
          b.reset();
        });
        if (i % 2) until_parked(1);
        {
          const lock l(b->m);
          b->set = true;
          b->c.notify_one();  // with the lock held: b is there until it is let go
        }
        last.join();
      }
    });
  }

  TEST_CASE("a notify that comes while the lock's unlock is parked is not missed, and wakes nothing else") {
    on_workers([] {
      struct {
        bide::semaphore left, go;
        void lock() {}
        void unlock() {
          left.release();
          go.acquire();
        }
      } slow;
      bide::condition_variable changed;
      for (int round = 0; round < 3; ++round) {
        auto waits = bide::spawn([&] { return changed.wait_until(slow, bide::deadline::never()); });
        plain_thread notifies([&] {
          slow.left.acquire();
          changed.notify_one();
          slow.go.release();
        });
        CHECK(waits.get() == bide::wait_result::ready);
      }
    });
  }
}
