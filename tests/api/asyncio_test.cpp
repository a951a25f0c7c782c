// asyncio's habits that no other test here states: each case says what asyncio does, and why where it differs.
#include "support.hpp"

#include <stdexcept>
#include <thread>
#include <vector>

using namespace api;

TEST_SUITE("api/asyncio") {
  // asyncio: create_task() only schedules; the creator goes on, and tasks begin in the order of their creation.
  TEST_CASE("who spawns goes on first, and tasks begin in the order in which they were spawned") {
    bide::run([] {
      std::vector<int> order;
      std::vector<bide::task<void>> all;
      for (int i = 1; i <= 5; ++i) all.push_back(bide::spawn([&, i] { order.push_back(i); }));
      order.push_back(0);
      bide::gather(all);
      CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5});
    });
  }

  // asyncio: sleep(0) lets every other task that is ready run once.
  TEST_CASE("a yield lets the others that are ready run first") {
    bide::run([] {
      std::vector<int> order;
      auto a = bide::spawn([&] { order.push_back(1), bide::yield(), order.push_back(3); });
      auto b = bide::spawn([&] { order.push_back(2), bide::yield(), order.push_back(4); });
      bide::gather(a, b);
      CHECK(order == std::vector<int>{1, 2, 3, 4});
    });
  }

  // asyncio: a task that is cancelled before its first step never enters its function. Here it is an ordinary function,
  // whose arguments it may own and others may rely on: it is entered, and its first wait ends.
  TEST_CASE("a task that is cancelled before it begins is entered, and ends at its first wait") {
    on_workers([] {
      bool entered = false, waited = false;
      auto t = bide::spawn([&] {
        entered = true;
        bide::sleep_for(1h);
        waited = true;
      });
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
      CHECK(entered);
      CHECK(!waited);
      auto needs_no_wait = bide::spawn([] { return 3; });
      needs_no_wait.cancel();
      CHECK(needs_no_wait.get() == 3);
    });
  }

  // asyncio: call_soon_threadsafe() keeps the order of one thread's callbacks; so it is on one worker. On several they run
  // beside each other.
  TEST_CASE("what one thread posts begins in the order in which it was posted") {
    bide::run([] {
      std::vector<int> order;
      const auto here = bide::runtime_handle::current();
      std::vector<int> expected;
      std::thread other([&] {
        for (int i = 0; i < 50; ++i) here.post([&, i] { order.push_back(i); });
      });
      bide::offload([&] { other.join(); });
      while (order.size() < 50) bide::yield();
      for (int i = 0; i < 50; ++i) expected.push_back(i);
      CHECK(order == expected);
    });
  }

  // asyncio: a callback of call_soon() that raises goes to the loop's exception handler, and the loop goes on.
  TEST_CASE("what is posted and throws is reported, and the runtime goes on") {
    const ending e = in_child([] {
      bide::run([] {
        bide::runtime_handle::current().post([] { throw std::runtime_error("posted badly"); });
        bide::sleep_for(1ms);
        if (bide::spawn([] { return 4; }).get() != 4) _exit(1);
      });
    });
    CHECK(e.exited(0));
    CHECK(e.says("posted badly"));
  }

  // asyncio: a task runs in a copy of its creator's context. A fiber_local is thread_local's kin: it has a destructor, and a
  // type that need not be copied; what a child is to know it is given.
  TEST_CASE("a child has none of its parent's fiber_locals, and changes none") {
    on_workers([] {
      static bide::fiber_local<int> number;
      *number = 7;
      bide::spawn([] {
        CHECK(!number.get_if());
        CHECK(*number == 0);
        *number = 8;
      }).get();
      CHECK(*number == 7);
      CHECK(bide::spawn([given = *number] { return *number = given; }).get() == 7);
    });
  }

  // asyncio: Task.exception() raises CancelledError of a cancelled task, InvalidStateError of one that runs. Here it waits,
  // and a cancel is no exception: state() tells.
  TEST_CASE("exception() waits for the end, and is null for what returned or was cancelled") {
    on_workers([] {
      auto fails = bide::spawn([] {
        bide::yield();
        throw std::logic_error("why");
      });
      CHECK_THROWS_WITH_AS(std::rethrow_exception(fails.exception()), "why", std::logic_error);
      auto cancelled = bide::spawn([] { bide::sleep_for(1h); });
      cancelled.cancel();
      CHECK(!cancelled.exception());
      CHECK(cancelled.state() == bide::task_state::cancelled);
    });
  }

  // asyncio: wait(timeout=) neither raises nor cancels, and says what is pending.
  TEST_CASE("a join with a deadline leaves the task alone") {
    on_workers([] {
      bide::event go;
      auto t = bide::spawn([&] {
        go.wait();
        return 5;
      });
      CHECK(t.join(bide::deadline::after(2ms)) == bide::wait_result::expired);
      go.set();
      CHECK(t.get() == 5);
    });
  }

  // asyncio: timeout() raises TimeoutError once, at its block's end, and a wait begun after that in the block is free. Here
  // a deadline that has passed stays so, or a retry, or a call that ignores its error, would outlive it.
  TEST_CASE("a timeout that has passed stays passed until its block is left") {
    on_workers([] {
      {
        bide::timeout limit(1ms);
        for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(bide::sleep_for(1h), bide::timed_out);
        CHECK(usleep(1000) == -1);
        CHECK(errno == ETIMEDOUT);
      }
      CHECK(usleep(1000) == 0);
    });
  }

  // asyncio: a task that is cancelled within a timeout block is cancelled, not late: whichever comes first.
  TEST_CASE("a cancel within a timeout is a cancel") {
    on_workers([] {
      auto t = bide::spawn([] {
        bide::timeout limit(1h);
        bide::sleep_for(1h);
      });
      until_parked(t);
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
    });
  }

  // asyncio: `async with semaphore`.
  TEST_CASE("a permit is held until its block is left, however it is") {
    on_workers([] {
      bide::semaphore s(1);
      const auto use = [&](bool fail) {
        const bide::permit held(s);
        CHECK(!s.try_acquire());
        if (fail) throw std::runtime_error("within");
      };
      use(false);
      CHECK_THROWS_AS(use(true), std::runtime_error);
      CHECK(s.try_acquire());
      auto waits = bide::spawn([&] { bide::permit never(s); });
      until_parked(waits);
      waits.cancel();
      CHECK_THROWS_AS(waits.get(), bide::cancelled);
      s.release();
      CHECK(s.try_acquire());
    });
  }

  // asyncio: gather(return_exceptions=True) raises nothing.
  TEST_CASE("each of several tasks tells by itself what came of it") {
    on_workers([] {
      std::vector<bide::task<int>> all;
      for (int i = 0; i < 3; ++i) {
        all.push_back(bide::spawn([i] {
          if (i == 0) throw std::runtime_error("first");
          if (i == 1) bide::sleep_for(1h);
          return i;
        }));
      }
      all[1].cancel();
      for (auto& t : all) t.join();
      CHECK(all[0].exception());
      CHECK(all[1].state() == bide::task_state::cancelled);
      CHECK(all[2].get() == 2);
    });
  }

  // asyncio: Condition, Lock and Semaphore serve those who wait in the order in which they came.
  TEST_CASE("who waits first is served first") {
    bide::run([] {
      bide::semaphore s;
      bide::channel<int> c;
      bide::event e;
      std::vector<int> order;
      const auto in_order = [&](auto wait, auto give) {
        order.clear();
        std::vector<bide::task<void>> all;
        for (int i = 0; i < 4; ++i) {
          all.push_back(bide::spawn([&, i] {
            wait();
            order.push_back(i);
          }));
        }
        for (auto& t : all) until_parked(t);
        for (int i = 0; i < 4; ++i) give();
        bide::gather(all);
        CHECK(order == std::vector<int>{0, 1, 2, 3});
      };
      in_order([&] { s.acquire(); }, [&] { s.release(); });
      in_order([&] { c.receive(); }, [&] { c.send(1); });
      in_order([&] { e.wait(); }, [&] { e.set(); });
    });
  }
}
