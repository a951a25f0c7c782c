#include "support.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

using namespace api;

TEST_SUITE("api/sync") {
  TEST_CASE("a mutex lets one in, fibers of all workers and plain threads alike") {
    on_workers([] {
      bide::mutex m;
      long counter = 0;
      const auto work = [&] {
        for (int i = 0; i < 300; ++i) {
          const std::lock_guard guard(m);
          const long before = counter;
          if (i % 8 == 0) bide::yield();
          counter = before + 1;
        }
      };
      bide::wait_group fibers(20);
      for (int i = 0; i < 20; ++i) {
        bide::spawn([&] {
          work();
          fibers.done();
        });
      }
      std::thread one(work), two(work);
      fibers.wait();
      bide::offload([&] {
        one.join();
        two.join();
      });
      CHECK(counter == 22 * 300);
    });
  }

  // asyncio.Lock: fair, too. Its acquire() can be cancelled; a lock() here is no point of cancellation, as destructors may lock.
  TEST_CASE("a mutex is handed to the longest waiter") {
    bide::run([] {
      bide::mutex m;
      std::vector<int> order;
      m.lock();
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 5; ++i) {
        all.push_back(bide::spawn([&, i] {
          const std::lock_guard guard(m);
          order.push_back(i);
        }));
      }
      bide::yield();
      m.unlock();
      for (auto& t : all) t.join();
      CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
    });
  }

  TEST_CASE("a wait for a mutex, a permit, a notice or a count ends at its deadline") {
    on_workers([] {
      bide::mutex m;
      m.lock();
      bide::semaphore s;
      bide::wait_group g(1);
      bide::condition_variable c;
      bide::mutex of_c;
      std::unique_lock held(of_c);
      const auto soon = [] { return bide::deadline::after(3ms); };
      auto other = bide::spawn([&] { return m.lock_until(soon()); });
      CHECK(other.get() == bide::wait_result::expired);
      CHECK(s.acquire_until(soon()) == bide::wait_result::expired);
      CHECK(g.wait_until(soon()) == bide::wait_result::expired);
      CHECK(c.wait_until(held, soon()) == bide::wait_result::expired);
      CHECK(held.owns_lock());
      m.unlock();
      CHECK(m.try_lock());
      m.unlock();
    });
  }

  // [thread.timedmutex.requirements], [thread.sharedtimedmutex.requirements], [thread.sema.cnt]
  TEST_CASE("the standard's guards wait for a lock for a time, and till a point of any clock") {
    on_workers([] {
      bide::mutex m, other;
      bide::shared_mutex shared;
      bide::semaphore permits;
      const auto late = [] { return std::chrono::system_clock::now() + 2ms; };
      {
        const std::scoped_lock both(m, other);
        const std::lock_guard alone(shared);
        CHECK(!std::unique_lock(m, 2ms));
        CHECK(!std::unique_lock(m, std::chrono::steady_clock::now() + 2ms));
        CHECK(!std::unique_lock(m, late()));
        CHECK(!std::unique_lock(shared, 2ms));
        CHECK(!std::unique_lock(shared, late()));
        CHECK(!std::shared_lock(shared, 2ms));
        CHECK(!std::shared_lock(shared, late()));
        CHECK(!permits.try_acquire_for(2ms));
        CHECK(!permits.try_acquire_until(late()));
        bide::timeout limit(1ms);
        CHECK_THROWS_AS((void)m.try_lock_for(1h), bide::timed_out);
        CHECK_THROWS_AS((void)shared.try_lock_shared_for(1h), bide::timed_out);
        CHECK_THROWS_AS((void)permits.try_acquire_for(1h), bide::timed_out);
      }
      auto t = bide::spawn([&] {
        const std::unique_lock waits(m, std::chrono::system_clock::now() + 1h);
        const std::shared_lock reads(shared, 1h);
        return waits.owns_lock() && reads.owns_lock() && permits.try_acquire_for(1h);
      });
      permits.release();
      CHECK(t.get());
    });
  }

  TEST_CASE("permits released by threads wake every fiber that waits") {
    on_workers([] {
      bide::semaphore s;
      bide::wait_group done(400);
      for (int i = 0; i < 400; ++i) {
        bide::spawn([&] {
          s.acquire();
          done.done();
        });
      }
      std::vector<std::thread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
          for (int i = 0; i < 100; ++i) s.release();
        });
      }
      done.wait();
      bide::offload([&] {
        for (auto& t : threads) t.join();
      });
      CHECK(!s.try_acquire());
    });
  }

  // asyncio.Condition: wait() lets the lock go and has it again; notify() wakes one, notify_all() everybody.
  TEST_CASE("a condition variable passes what a producer makes to consumers") {
    on_workers([] {
      bide::mutex m;
      bide::condition_variable not_empty;
      int made = 0, taken = 0;
      bool over = false;
      std::vector<bide::task<void>> consumers;
      for (int i = 0; i < 4; ++i) {
        consumers.push_back(bide::spawn([&] {
          std::unique_lock lock(m);
          for (;;) {
            not_empty.wait(lock, [&] { return taken < made || over; });
            if (taken == made) return;
            ++taken;
          }
        }));
      }
      for (int i = 0; i < 500; ++i) {
        const std::lock_guard lock(m);
        ++made;
        not_empty.notify_one();
      }
      {
        const std::lock_guard lock(m);
        over = true;
      }
      not_empty.notify_all();
      for (auto& t : consumers) t.join();
      CHECK(taken == 500);
    });
  }

  TEST_CASE("what was waited for may be destroyed as soon as the wait is over") {
    on_workers([] {
      for (int i = 0; i < 300; ++i) {
        auto group = std::make_unique<bide::wait_group>(2);
        for (int k = 0; k < 2; ++k) bide::spawn([g = group.get()] { g->done(); });
        group->wait();
      }
    });
  }

  TEST_CASE("a local mutex waits and is handed on") {
    bide::run([] {
      bide::local_mutex m;
      int inside = 0, most = 0;
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 10; ++i) {
        all.push_back(bide::spawn([&] {
          const std::lock_guard guard(m);
          most = std::max(most, ++inside);
          bide::yield();
          --inside;
        }));
      }
      for (auto& t : all) t.join();
      CHECK(most == 1);
    });
  }
}
