// Events, barriers, once, shared mutexes and fibers' own variables.
#include "support.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace api;

TEST_SUITE("api/meeting") {
  // asyncio.Event: set() wakes all who wait, and stays until clear().
  TEST_CASE("an event lets all go when it is set, and makes them wait when it is clear") {
    on_workers([] {
      bide::event e;
      std::atomic<int> gone = 0;
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 10; ++i) {
        all.push_back(bide::spawn([&] {
          e.wait();
          ++gone;
        }));
      }
      std::thread plain([&] { e.wait(); });
      CHECK(e.wait_until(bide::deadline::after(2ms)) == bide::wait_result::expired);
      CHECK(gone == 0);
      e.set();
      for (auto& t : all) t.join();
      bide::offload([&] { plain.join(); });
      CHECK(gone == 10);
      CHECK(e.is_set());
      e.wait();
      e.clear();
      CHECK(!e.is_set());
      bide::timeout limit(1ms);
      CHECK_THROWS_AS(e.wait(), bide::timed_out);
    });
  }

  // asyncio.Barrier: wait() returns a number of its own to each; one that is cancelled has not arrived.
  TEST_CASE("a barrier lets go when all have arrived, again and again") {
    on_workers([] {
      bide::barrier b(4);
      std::atomic<int> arrived = 0;
      std::atomic<bool> right = true;
      std::atomic<int> firsts = 0;
      bide::group g;
      for (int i = 0; i < 4; ++i) {
        g.spawn([&] {
          for (int round = 1; round <= 20; ++round) {
            ++arrived;
            firsts += b.arrive_and_wait() == 0;
            if (arrived < 4 * round) right = false;
          }
        });
      }
      g.wait();
      CHECK(right);
      CHECK(firsts == 20);
      auto gives_up = bide::spawn([&] {
        bide::timeout limit(1ms);
        b.arrive_and_wait();
      });
      CHECK_THROWS_AS(gives_up.get(), bide::timed_out);
      b.arrive_and_drop();
      std::vector<bide::task<void>> rest;
      for (int i = 0; i < 2; ++i) rest.push_back(bide::spawn([&] { b.arrive_and_wait(); }));
      bide::sleep_for(1ms);
      CHECK(!rest[0].done());
      b.arrive_and_wait();
      bide::gather(rest);
    });
  }

  TEST_CASE("once is once, whoever comes; a call that throws does not count") {
    on_workers([] {
      bide::once_flag flag;
      std::atomic<int> calls = 0, through = 0;
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 10; ++i) {
        all.push_back(bide::spawn([&] {
          try {
            bide::call_once(flag, [&](int n) {
              bide::sleep_for(1ms);
              if ((calls += n) == 1) throw std::runtime_error("first");
            }, 1);
            CHECK(calls == 2);
            ++through;
          } catch (const std::runtime_error&) {
          }
        }));
      }
      for (auto& t : all) t.get();
      CHECK(calls == 2);
      CHECK(through == 9);
    });
  }

  TEST_CASE("a shared mutex lets readers in together and a writer alone, in order of arrival") {
    on_workers([] {
      bide::shared_mutex m;
      std::atomic<int> readers = 0, writers = 0;
      std::atomic<bool> wrong = false;
      bide::group g;
      for (int i = 0; i < 12; ++i) {
        g.spawn([&, i] {
          for (int round = 0; round < 20; ++round) {
            if (i % 4 == 0) {
              const std::unique_lock lock(m);
              wrong = wrong || ++writers != 1 || readers != 0;
              bide::yield();
              --writers;
            } else {
              const std::shared_lock lock(m);
              ++readers;
              wrong = wrong || writers != 0;
              bide::yield();
              --readers;
            }
          }
        });
      }
      g.wait();
      CHECK(!wrong);
      m.lock_shared();
      bide::spawn([&] { const std::shared_lock beside(m); }).get();
      CHECK(!m.try_lock());
      CHECK(m.try_lock_shared());
      CHECK(m.lock_until(bide::deadline::after(1ms)) == bide::wait_result::expired);
      auto writer = bide::spawn([&] { std::unique_lock lock(m); });
      until_parked(writer);
      CHECK(!m.try_lock_shared());  // a writer waits
      CHECK(m.lock_shared_until(bide::deadline::after(1ms)) == bide::wait_result::expired);
      m.unlock_shared();
      m.unlock_shared();
      writer.get();
      bide::timeout limit(1ms);
      m.lock();
      CHECK_THROWS_AS(m.lock(), bide::timed_out);
      m.unlock();
    });
  }

  TEST_CASE("a reader behind a writer that gave up goes in") {
    on_workers([] {
      bide::shared_mutex m;
      m.lock_shared();
      auto writer = bide::spawn([&] { return m.lock_until(bide::deadline::after(3ms)); });
      until_parked(writer);
      auto reader = bide::spawn([&] { std::shared_lock lock(m); });
      CHECK(writer.get() == bide::wait_result::expired);
      reader.get();
      m.unlock_shared();
    });
  }

  // asyncio: contextvars, but each task begins anew.
  TEST_CASE("a fiber_local is the fiber's own, made when asked for, destroyed at its end, latest first") {
    static std::vector<std::string> gone;
    struct noted {
      std::string text;
      ~noted() {
        static bide::mutex m;
        const std::lock_guard guard(m);
        gone.push_back(text);
      }
    };
    static bide::fiber_local<noted> one, two;
    static bide::fiber_local<int> number;
    on_workers([] {
      gone.clear();
      number.get() = 1;
      CHECK(!one.get_if());
      bide::spawn([] {
        one->text = "one";
        two->text = "two";
        CHECK(*number == 0);
        *number = 5;
        bide::yield();
        CHECK(*number == 5);
      }).get();
      CHECK(*number == 1);
      CHECK(gone == std::vector<std::string>{"two", "one"});
    });
    std::thread([] { CHECK(*number == 0); }).join();
  }
}
