#include "support.hpp"

#include <atomic>
#include <stdexcept>
#include <vector>

using namespace api;

namespace {

struct count_at_end {
  std::atomic<int>& n;
  ~count_at_end() { ++n; }
};

}  // namespace

TEST_SUITE("api/group") {
  // asyncio.TaskGroup: leaving the block waits for the children.
  TEST_CASE("children have ended when the block is left") {
    on_workers([] {
      std::atomic<int> ended = 0;
      {
        bide::group g;
        for (int i = 0; i < 20; ++i) {
          g.spawn([&, i] {
            const count_at_end c{ended};
            bide::sleep_for(std::chrono::milliseconds(i % 4));
          });
        }
        auto t = g.spawn([](int a, int b) { return a + b; }, 3, 4);
        CHECK(t.get() == 7);
      }
      CHECK(ended == 20);
      CHECK(bide::in_group([](bide::group& g) { return g.spawn([] { return 5; }).get(); }) == 5);
    });
  }

  // asyncio.TaskGroup: the first failure cancels the others and the body; all failures come together.
  TEST_CASE("the first failure cancels the rest, and is thrown with the others attached") {
    on_workers([] {
      std::atomic<int> ended = 0;
      bool body_ended = false;
      const auto all_of_it = [&] {
        bide::in_group([&](bide::group& g) {
          for (int i = 0; i < 5; ++i) {
            g.spawn([&] {
              const count_at_end c{ended};
              bide::sleep_for(1h);
            });
          }
          g.spawn([&] {
            const count_at_end c{ended};
            try {
              bide::sleep_for(1h);
            } catch (const bide::cancelled&) {
              throw std::logic_error("second");
            }
          });
          g.spawn([] {
            bide::sleep_for(2ms);
            throw std::runtime_error("first");
          });
          try {
            bide::sleep_for(1h);
          } catch (const bide::cancelled&) {
            body_ended = true;
            CHECK(usleep(1000) == -1);  // every wait from now on
            CHECK(errno == ECANCELED);
            throw;
          }
        });
      };
      CHECK_THROWS_WITH_AS(all_of_it(), "first", std::runtime_error);
      CHECK(ended == 6);
      CHECK(body_ended);
      const auto others = bide::other_failures();
      REQUIRE(others.size() == 1);
      CHECK_THROWS_WITH_AS(std::rethrow_exception(others[0]), "second", std::logic_error);
      bide::sleep_for(1ms);  // nothing of it is left
    });
  }

  TEST_CASE("a failure is thrown at the end of the block, or by wait") {
    on_workers([] {
      const auto block = [] {
        bide::group g;
        g.spawn([] { throw 1; });
      };
      CHECK_THROWS_AS(block(), int);
      bide::group g;
      g.spawn([] { throw std::runtime_error("w"); });
      CHECK_THROWS_WITH_AS(g.wait(), "w", std::runtime_error);
      g.spawn([] {});  // it may be used again
      g.wait();
    });
  }

  // asyncio.TaskGroup: a child that is cancelled is no failure.
  TEST_CASE("a child that is cancelled is no failure") {
    on_workers([] {
      bide::group g;
      auto t = g.spawn([] { bide::sleep_for(1h); });
      auto other = g.spawn([] { bide::sleep_for(2ms); });
      t.cancel();
      g.wait();
      CHECK(other.state() == bide::task_state::done);
    });
  }

  // asyncio.TaskGroup: an exception in the body cancels the children, and leaves when they have ended.
  TEST_CASE("a block left by exception cancels its children, waits for them, and what they throw is reported") {
    const ending e = in_child([] {
      on_workers([] {
        std::atomic<int> ended = 0;
        try {
          bide::group g;
          for (int i = 0; i < 3; ++i) {
            g.spawn([&] {
              const count_at_end c{ended};
              try {
                bide::sleep_for(1h);
              } catch (...) {
                throw std::runtime_error("on the way out");
              }
            });
          }
          bide::sleep_for(1ms);
          throw std::logic_error("the block's");
        } catch (const std::logic_error&) {
          if (ended != 3) _exit(2);
        }
      });
    });
    CHECK(e.exited(0));
    CHECK(e.says("on the way out"));
  }

  // asyncio: cancelling the task that is in `async with TaskGroup()` cancels the children and waits for them.
  TEST_CASE("a group whose fiber is cancelled or late cancels its children and waits") {
    on_workers([] {
      std::atomic<int> ended = 0;
      auto t = bide::spawn([&] {
        bide::group g;
        g.spawn([&] {
          const count_at_end c{ended};
          bide::sleep_for(1h);
        });
        g.wait();
      });
      bide::sleep_for(2ms);
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
      CHECK(ended == 1);
      const auto late = [&] {
        bide::timeout limit(2ms);
        bide::in_group([&](bide::group& g) {
          g.spawn([&] {
            const count_at_end c{ended};
            bide::sleep_for(1h);
          });
        });
      };
      CHECK_THROWS_AS(late(), bide::timed_out);
      CHECK(ended == 2);
    });
  }

  TEST_CASE("groups nest: an inner failure is the inner group's, then the child's, then the outer group's") {
    on_workers([] {
      std::atomic<int> ended = 0;
      const auto nested = [&] {
        bide::in_group([&](bide::group& outer) {
          outer.spawn([&] {
            const count_at_end c{ended};
            bide::sleep_for(1h);
          });
          outer.spawn([&] {
            bide::in_group([&](bide::group& inner) {
              inner.spawn([&] {
                const count_at_end c{ended};
                bide::sleep_for(1h);
              });
              inner.spawn([] { throw std::runtime_error("deep"); });
            });
          });
        });
      };
      CHECK_THROWS_WITH_AS(nested(), "deep", std::runtime_error);
      CHECK(ended == 2);
    });
  }

  TEST_CASE("what others returned and threw is there after the first failure") {
    bide::run([] {
      bide::group g;
      auto good = g.spawn([] { return 5; });
      auto caught = [&](int what) {
        return g.spawn([what] {
          try {
            bide::sleep_for(1h);
          } catch (const bide::cancelled&) {
            throw what;
          }
        });
      };
      auto second = caught(2), third = caught(3);
      auto first = g.spawn([]() -> int { throw 1; });
      CHECK_THROWS_AS(g.wait(), int);
      CHECK(good.get() == 5);
      CHECK_THROWS_AS(first.get(), int);
      int sum = 0;
      for (const auto& error : bide::other_failures()) {
        try {
          std::rethrow_exception(error);
        } catch (int what) {
          sum = 10 * sum + what;
        }
      }
      CHECK((sum == 23 || sum == 32));
      CHECK(second.state() == bide::task_state::failed);
      CHECK(third.state() == bide::task_state::failed);
    });
  }

  // asyncio: a Semaphore around the body of each task.
  TEST_CASE("with max_concurrency children begin as others end, in the order in which they were spawned") {
    bide::run([] {
      std::vector<int> begun;
      bide::semaphore ends;
      bide::group g({.max_concurrency = 3});
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 8; ++i) {
        all.push_back(g.spawn([&, i] {
          begun.push_back(i);
          ends.acquire();
        }));
      }
      for (auto& t : all) until_parked(t);
      CHECK(begun == std::vector<int>{0, 1, 2});
      ends.release();
      all[0].join();
      until_parked(all[3]);
      while (begun.size() < 4) bide::yield();
      for (int i = 0; i < 20; ++i) bide::yield();
      CHECK(begun == std::vector<int>{0, 1, 2, 3});
      ends.release(7);
      g.wait();
      CHECK(begun == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7});
    });
  }

  TEST_CASE("max_concurrency bounds the children that run, also those that children add") {
    on_workers([] {
      std::atomic<int> inside = 0, most = 0, total = 0;
      {
        bide::group g({.max_concurrency = 3});
        const auto work = [&] {
          const int now = ++inside;
          int seen = most;
          while (seen < now && !most.compare_exchange_weak(seen, now)) {
          }
          while (most < 3) bide::yield();  // until three have met inside
          bide::yield();
          ++total;
          --inside;
        };
        for (int i = 0; i < 20; ++i) g.spawn(work);
        g.spawn([&] {
          for (int i = 0; i < 5; ++i) g.spawn(work);
        });
      }
      CHECK(total == 25);
      CHECK(most == 3);
    });
  }

  // asyncio.TaskGroup.create_task raises RuntimeError when the group is shutting down.
  TEST_CASE("cancelling a group within its block ends the children, not the block") {
    on_workers([] {
      const int result = bide::in_group([](bide::group& g) {
        auto t = g.spawn([] { bide::sleep_for(1h); });
        g.cancel();
        bide::sleep_for(1ms);
        (void)t.join(bide::deadline::never());
        return t.state() == bide::task_state::cancelled ? 4 : 0;
      });
      CHECK(result == 4);
    });
  }

  TEST_CASE("a group that is over takes no more children") {
    bide::run([] {
      bide::group g;
      g.cancel();
      CHECK(error_of([&] { g.spawn([] {}); }, "cancelled") == ECANCELED);
      g.wait();
      g.spawn([] {});
    });
    CHECK(error_of([] { bide::in_group([](bide::group&) {}); }, "outside a fiber") == EPERM);
    CHECK(error_of([] {
      bide::group g;
      g.spawn([] {});
    }, "spawn()") == EPERM);
  }

  TEST_CASE("a storm of groups that fail leaves nothing behind") {
    on_workers([] {
      for (int round = 0; round < 30; ++round) {
        try {
          bide::group g;
          for (int i = 0; i < 10; ++i) {
            g.spawn([i, round] {
              if (i == round % 10) throw round;
              bide::sleep_for(1h);
            });
          }
        } catch (int what) {
          CHECK(what == round);
        }
      }
    });
  }
}
