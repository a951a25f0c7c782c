#include <bide/mutex.hpp>

#include <doctest/doctest.h>

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

using namespace unit;
using bide::deadline;
using bide::wait_result;
using std::chrono::microseconds;

TEST_SUITE("sync/mutex") {
  TEST_CASE("a free mutex is taken, a held one is not") {
    bide::mutex m;
    CHECK(m.try_lock());
    CHECK_FALSE(m.try_lock());
    m.unlock();
    m.lock();
    m.unlock();
    CHECK(m.lock_until(deadline::from_ns(0)) == wait_result::ready);  // free: the deadline does not matter
    CHECK(m.lock_until(deadline::from_ns(0)) == wait_result::expired);
    m.unlock();
    CHECK(m.try_lock());
    m.unlock();
  }

  TEST_CASE("one at a time is inside, across workers and plain threads") {
    for (const unsigned workers : {1u, 2u, 4u}) {
      CAPTURE(workers);
      in_runtime([] {
        const int each = rounds(2000);
        bide::mutex m;
        long count = 0;  // guarded by m
        std::vector<bide::task<void>> tasks;
        for (int i = 0; i < 8; ++i) {
          tasks.push_back(bide::spawn([&] {
            for (int k = 0; k < each; ++k) {
              const std::lock_guard guard(m);
              const long before = count;
              if (k % 16 == 0) bide::yield();
              count = before + 1;
            }
          }));
        }
        std::list<plain_thread> threads;
        for (int i = 0; i < 2; ++i) {
          threads.emplace_back([&] {
            for (int k = 0; k < each; ++k) {
              const std::lock_guard guard(m);
              ++count;
            }
          });
        }
        for (auto& t : tasks) t.join();
        threads.clear();
        CHECK(count == 10L * each);
        CHECK(m.try_lock());
        m.unlock();
      }, {.workers = workers});
    }
  }

  TEST_CASE("it is handed to the longest waiter, and nobody overtakes") {
    in_runtime([] {
      bide::mutex m;
      std::string order;
      m.lock();
      std::vector<bide::task<void>> tasks;
      for (const char name : {'a', 'b', 'c', 'd'}) {
        tasks.push_back(bide::spawn([&, name] {
          m.lock();
          order += name;
          m.unlock();
        }));
      }
      until_parked(4);
      m.unlock();
      CHECK_FALSE(m.try_lock());  // it is a's already, who has not run yet
      for (auto& t : tasks) t.join();
      CHECK(order == "abcd");
    });
  }

  TEST_CASE("waiters of other workers are served in order of arrival too") {
    in_runtime([] {
      bide::mutex m;
      std::string order;  // guarded by m
      m.lock();
      std::vector<bide::task<void>> tasks;
      for (const char name : {'a', 'b', 'c', 'd', 'e', 'f'}) {
        tasks.push_back(bide::spawn([&, name] {
          const std::lock_guard guard(m);
          order += name;
        }));
        until_parked(static_cast<unsigned>(tasks.size()));
      }
      m.unlock();
      for (auto& t : tasks) t.join();
      CHECK(order == "abcdef");
    }, {.workers = 4});
  }

  TEST_CASE("a waiter whose deadline passes is skipped, wherever it stands in the line") {
    on_workers([] {
      bide::mutex m;
      m.lock();
      const auto waits = [&](deadline until) {
        return bide::spawn([&, until] {
          const wait_result how = m.lock_until(until);
          if (how == wait_result::ready) m.unlock();
          return how;
        });
      };
      std::vector<bide::task<wait_result>> patient, impatient;
      for (int i = 0; i < 3; ++i) {
        impatient.push_back(waits(deadline::after(microseconds(200))));
        patient.push_back(waits(deadline::never()));
        impatient.push_back(waits(deadline::after(microseconds(100))));
      }
      for (auto& t : impatient) CHECK(t.get() == wait_result::expired);
      until_parked(3);
      m.unlock();
      for (auto& t : patient) CHECK(t.get() == wait_result::ready);
      CHECK(m.try_lock());
      m.unlock();
    });
  }

  TEST_CASE("a cancelled fiber still gets the mutex, and the cancel stays for its next wait") {
    on_workers([] {
      bide::mutex m;
      m.lock();
      auto waits = bide::spawn([&] {
        m.lock();
        m.unlock();
        try {
          bide::sleep_for(std::chrono::hours(1));
        } catch (const bide::cancelled&) {
          return true;
        }
        return false;
      });
      until_parked(1);
      waits.cancel();
      for (int i = 0; i < 10; ++i) bide::yield();
      CHECK_FALSE(waits.done());
      m.unlock();
      CHECK(waits.get());
    });
  }

  TEST_CASE("whoever was handed it may destroy it as soon as it has unlocked it") {
    on_workers([] {
      for (int i = 0; i < rounds(300); ++i) {
        auto m = std::make_unique<bide::mutex>();
        m->lock();
        auto last = bide::spawn([&m] {
          m->lock();
          m->unlock();
          m.reset();
        });
        if (i % 2) until_parked(1);
        m->unlock();
        last.join();
      }
    });
  }

  TEST_CASE("with deadlines that race with unlocks it is never lost and never held twice") {
    on_workers([] {
      bide::mutex m;
      std::atomic<int> inside{0};
      std::atomic<bool> twice{false};
      const auto visit = [&](unsigned seed) {
        std::mt19937 random(seed);
        for (int k = 0; k < rounds(400); ++k) {
          const auto until = random() % 3 ? deadline::after(microseconds(random() % 30)) : deadline::never();
          if (m.lock_until(until) != wait_result::ready) continue;
          if (++inside != 1) twice = true;
          if (bide::this_fiber::id() && random() % 4 == 0) bide::yield();
          --inside;
          m.unlock();
        }
      };
      std::vector<bide::task<void>> tasks;
      for (unsigned i = 0; i < 12; ++i) tasks.push_back(bide::spawn(visit, i));
      std::list<plain_thread> threads;
      for (unsigned i = 20; i < 22; ++i) threads.emplace_back([&, i] { visit(i); });
      for (auto& t : tasks) t.join();
      threads.clear();
      CHECK_FALSE(twice);
      CHECK(m.try_lock());
      m.unlock();
    });
  }

  TEST_CASE("plain threads alone use it as any mutex") {
    bide::mutex m;
    int count = 0;  // guarded by m
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < rounds(5000); ++k) {
          const std::lock_guard guard(m);
          ++count;
        }
      });
    }
    for (std::thread& t : threads) t.join();
    CHECK(count == 4 * rounds(5000));
    m.lock();
    CHECK(m.lock_until(deadline::after(microseconds(100))) == wait_result::expired);
    m.unlock();
  }
}

TEST_SUITE("sync/local_mutex") {
  TEST_CASE("one at a time is inside, in order of arrival") {
    in_runtime([] {
      bide::local_mutex m;
      std::string order;
      m.lock();
      CHECK_FALSE(m.try_lock());
      std::vector<bide::task<void>> tasks;
      for (const char name : {'a', 'b', 'c'}) {
        tasks.push_back(bide::spawn([&, name] {
          const std::lock_guard guard(m);
          order += name;
          bide::yield();
          order += name;
        }));
      }
      until_parked(3);
      CHECK(order.empty());
      m.unlock();
      CHECK_FALSE(m.try_lock());
      for (auto& t : tasks) t.join();
      CHECK(order == "aabbcc");
      CHECK(m.try_lock());
      m.unlock();
    });
  }

  TEST_CASE("many fibers count without losing one") {
    in_runtime([] {
      bide::local_mutex m;
      long count = 0;
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < 10; ++i) {
        tasks.push_back(bide::spawn([&] {
          for (int k = 0; k < 500; ++k) {
            const std::lock_guard guard(m);
            const long before = count;
            bide::yield();
            count = before + 1;
          }
        }));
      }
      for (auto& t : tasks) t.join();
      CHECK(count == 5000);
    });
  }
}
