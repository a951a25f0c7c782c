#include "support.hpp"

#include <atomic>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

using namespace api;

namespace {

auto after(std::chrono::milliseconds wait, int value) {
  return bide::spawn([=] {
    bide::sleep_for(wait);
    return value;
  });
}

}  // namespace

TEST_SUITE("api/gather") {
  // asyncio.gather: results in the order given, whatever the order of their ends; callables become tasks.
  TEST_CASE("gather gives all results in the order given") {
    on_workers([] {
      auto last = after(6ms, 1);
      auto [a, b, c, d] = bide::gather(last, after(1ms, 2), [] { return std::string("three"); }, [] {});
      CHECK(a == 1);
      CHECK(b == 2);
      CHECK(c == "three");
      static_assert(std::is_same_v<decltype(d), std::monostate>);
      std::vector<bide::task<int>> many;
      for (int i = 0; i < 200; ++i) many.push_back(after(std::chrono::milliseconds((200 - i) / 40), i));
      const auto all = bide::gather(many);
      REQUIRE(all.size() == 200);
      for (int i = 0; i < 200; ++i) CHECK(all[i] == i);
      std::vector<bide::task<void>> none;
      bide::gather(none);
    });
  }

  // asyncio.gather: the first exception is propagated at once, the other awaitables go on.
  TEST_CASE("gather throws the first failure at once and the others go on") {
    on_workers([] {
      bide::event go;
      auto slow = bide::spawn([&] {
        go.wait();
        return 8;
      });
      auto fails = bide::spawn([]() -> int {
        bide::yield();
        throw std::runtime_error("first");
      });
      CHECK_THROWS_WITH_AS(bide::gather(slow, fails), "first", std::runtime_error);
      CHECK(!slow.done());
      go.set();
      CHECK(slow.get() == 8);
    });
  }

  // asyncio.gather: a cancelled child counts as CancelledError raised.
  TEST_CASE("gather of a cancelled task throws cancelled") {
    bide::run([] {
      auto t = bide::spawn([] { bide::sleep_for(1h); });
      t.cancel();
      CHECK_THROWS_AS(bide::gather(t), bide::cancelled);
    });
  }

  // asyncio.gather: cancelling it cancels its children; shield keeps one out.
  TEST_CASE("a gather that is cancelled cancels its tasks, but the shielded") {
    on_workers([] {
      auto child = bide::spawn([] { bide::sleep_for(1h); });
      bide::event go;
      auto safe = bide::spawn([&] {
        go.wait();
        return 4;
      });
      auto waits = bide::spawn([&] { bide::gather(child, bide::shield(safe)); });
      until_parked(waits);
      waits.cancel();
      CHECK_THROWS_AS(waits.get(), bide::cancelled);
      CHECK(child.state() == bide::task_state::cancelled);
      CHECK(!safe.done());
      go.set();
      CHECK(safe.get() == 4);
      auto other = bide::spawn([] { bide::sleep_for(1h); });
      CHECK_THROWS_AS([&] {
        bide::timeout limit(2ms);
        bide::gather(other);
      }(), bide::timed_out);
      CHECK(other.state() == bide::task_state::cancelled);
    });
  }

  TEST_CASE("a cancel is not lost on a gather of which a task ends before it has its turn") {
    on_workers([] {
      bide::semaphore s;
      auto child = bide::spawn([] { bide::sleep_for(1h); });
      auto quick = bide::spawn([&] { s.acquire(); });
      auto waits = bide::spawn([&] { bide::gather(child, quick); });
      until_parked(quick);
      until_parked(waits);
      s.release();  // the task is ready first
      waits.cancel();
      CHECK_THROWS_AS(waits.get(), bide::cancelled);
      CHECK(child.state() == bide::task_state::cancelled);
    });
  }

  // asyncio.wait(return_when=FIRST_COMPLETED)
  TEST_CASE("first_of gives the place of the first that ends, however it does, and leaves the others") {
    on_workers([] {
      auto a = after(1h, 0), b = bide::spawn([] { return 1; });
      CHECK(bide::first_of(a, b) == 1);
      CHECK(!a.done());
      std::vector<bide::task<int>> range;
      range.push_back(std::move(a));
      range.push_back(bide::spawn([]() -> int { throw 1; }));
      CHECK(bide::first_of(range) == 1);
      CHECK_THROWS_AS(range[1].get(), int);
      CHECK(bide::first_of(range) == 1);  // ended before
      range[0].cancel();
    });
  }

  TEST_CASE("first_of nothing, and of an empty handle, is refused") {
    bide::run([] {
      std::vector<bide::task<int>> none;
      CHECK(error_of([&] { bide::first_of(none); }, "none left") == EINVAL);
      bide::task<int> empty;
      CHECK(error_of([&] { bide::first_of(empty); }, "empty") == EINVAL);
      CHECK(error_of([&] { bide::gather(empty); }, "empty") == EINVAL);
    });
  }

  // asyncio.as_completed
  TEST_CASE("as_completed gives tasks in the order they end") {
    on_workers([] {
      in_turn turns(4);
      std::vector<bide::task<int>> all;
      for (int i : {3, 0, 2, 1}) {
        all.push_back(bide::spawn([&, i] {
          turns.wait_for(i);
          return i;
        }));
        // Still on its fiber, the task has ended by now.
        all.back().on_done([&, i] { turns.end(i); });
      }
      std::vector<int> order;
      for (auto& t : bide::as_completed(all)) order.push_back(t.get());
      CHECK(order == std::vector<int>{0, 1, 2, 3});
      std::vector<bide::task<int>> none;
      for (auto& t : bide::as_completed(none)) FAIL(t.id());
    });
  }

  TEST_CASE("as_completed may be left early, and bounded by a timeout") {
    on_workers([] {
      std::vector<bide::task<int>> all;
      all.push_back(bide::spawn([] { return 1; }));
      all.push_back(after(1h, 2));
      all[0].join();
      int seen = 0;
      CHECK_THROWS_AS([&] {
        bide::timeout limit(2ms);
        for (auto& t : bide::as_completed(all)) seen += t.get();
      }(), bide::timed_out);
      CHECK(seen == 1);
      all[1].cancel();
    });
  }

  TEST_CASE("plain threads wait for several tasks as fibers do") {
    on_workers([] {
      std::vector<bide::task<int>> all;
      for (int i = 0; i < 50; ++i) all.push_back(after(std::chrono::milliseconds(i % 5), i));
      long sum = 0;
      std::thread other([&] {
        for (auto& t : bide::as_completed(all)) sum += t.get();
      });
      bide::offload([&] { other.join(); });
      CHECK(sum == 49 * 50 / 2);
    });
  }

  // asyncio: done(), cancelled(), exception(); pending, running and parked are one state there.
  TEST_CASE("a task tells its state") {
    on_workers([] {
      using bide::task_state;
      auto t = bide::spawn([] { bide::sleep_for(1h); });
      until_parked(t);
      t.cancel();
      (void)t.join(bide::deadline::never());
      CHECK(t.state() == task_state::cancelled);
      auto good = bide::spawn([] { return 1; });
      good.join();
      CHECK(good.state() == task_state::done);
      CHECK(good.get() == 1);
      CHECK(good.state() == task_state::done);
      auto bad = bide::spawn([] { throw 1; });
      bad.join();
      CHECK(bad.state() == task_state::failed);
      CHECK(bad.exception());
      CHECK(!good.exception());
      auto self = bide::spawn([] { return bide::this_fiber::id(); });
      CHECK_THROWS(bide::task<int>().state());
      self.join();
    });
    bide::run([] {
      auto first = bide::spawn([] {});
      CHECK(first.state() == bide::task_state::pending);
      bide::task<void>* me = nullptr;
      bide::task_state seen{};
      auto second = bide::spawn([&] { seen = me->state(); });
      me = &second;
      second.join();
      CHECK(seen == bide::task_state::running);
    });
  }

  // asyncio: add_done_callback; callbacks run in the order added, soon if it is done already, and one that raises is
  // reported by the loop and hinders nobody.
  TEST_CASE("done-callbacks run in order, see the end, may park, and one that throws hinders nobody") {
    const ending e = in_child([] {
      on_workers([] {
        std::vector<int> order;
        bide::task_state seen{};
        auto t = bide::spawn({.name = "named"}, [] { bide::sleep_for(2ms); });
        t.on_done([&] {
          bide::sleep_for(1ms);
          order.push_back(1);
        });
        t.on_done([] { throw std::runtime_error("careless words"); });
        t.on_done([&](bide::task_state how) {
          seen = how;
          order.push_back(2);
        });
        t.join();
        t.on_done([&] { order.push_back(3); });
        if (order != std::vector<int>{1, 2, 3} || seen != bide::task_state::done) _exit(1);
      });
    });
    CHECK(e.exited(0));
    CHECK(e.says("a callback of fiber"));
    CHECK(e.says("careless words"));
  }

  TEST_CASE("a shared task is got by many, as often as they like") {
    on_workers([] {
      auto t = bide::spawn([] {
        bide::sleep_for(2ms);
        return std::string("once");
      }).share();
      std::atomic<int> right = 0;
      std::vector<bide::task<void>> readers;
      for (int i = 0; i < 20; ++i) readers.push_back(bide::spawn([&, t] { right += t.get() == "once"; }));
      std::thread plain([&, t] { right += t.get() == "once" && t.get() == "once"; });
      bide::gather(readers);
      bide::offload([&] { plain.join(); });
      CHECK(right == 21);
      auto [copy] = bide::gather(t);
      CHECK(copy == "once");
      const bide::shared_task<void> bad = bide::spawn([] { throw 5; });
      for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(bad.get(), int);
      CHECK_THROWS(bide::shared_task<int>().get());
    });
  }

  // std::jthread: a function that takes a stop_token gets one.
  TEST_CASE("cancel requests stop of a function that took a stop_token") {
    on_workers([] {
      std::atomic<bool> began = false;
      auto spins = bide::spawn(
          [&](std::stop_token stop, int value) {
            began = true;
            while (!stop.stop_requested()) bide::yield();
            return value;
          },
          6);
      while (!began) bide::yield();
      spins.cancel();
      CHECK(spins.get() == 6);
    });
  }

  TEST_CASE("a stop requested anywhere cancels the fiber that listens") {
    on_workers([] {
      for (int round = 0; round < 20; ++round) {
        std::stop_source source;
        auto t = bide::spawn([token = source.get_token()] {
          bide::cancel_on_stop listens(token);
          bide::sleep_for(1h);
        });
        std::thread other([&] { source.request_stop(); });
        CHECK_THROWS_AS(t.get(), bide::cancelled);
        bide::offload([&] { other.join(); });
      }
    });
    CHECK(error_of([] { bide::cancel_on_stop no(std::stop_token{}); }, "outside a fiber") == EPERM);
  }
}
