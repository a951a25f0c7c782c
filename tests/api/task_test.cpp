#include "support.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace api;

namespace {

// A cancelled task is joined all the same.
void t_join(bide::task<void>& t) { (void)t.join(bide::deadline::never()); }

}  // namespace

TEST_SUITE("api/task") {
  TEST_CASE("get returns the value, by whatever type") {
    on_workers([] {
      CHECK(bide::spawn([] { return 5; }).get() == 5);
      CHECK(*bide::spawn([] { return std::make_unique<int>(6); }).get() == 6);
      std::string text = "there";
      std::string& same = bide::spawn([&]() -> std::string& { return text; }).get();
      CHECK(&same == &text);
      CHECK(bide::spawn([](int a, std::string b) { return b + std::to_string(a); }, 1, "n").get() == "n1");
      CHECK(bide::spawn([] { return std::array<char, 8000>{{'a'}}; }).get()[0] == 'a');
    });
  }

  TEST_CASE("get throws what the fiber threw") {
    on_workers([] {
      auto t = bide::spawn([] { throw std::logic_error("why"); });
      CHECK_THROWS_WITH_AS(t.get(), "why", std::logic_error);
    });
  }

  TEST_CASE("join with a deadline says expired while the fiber runs, and ready when it has ended") {
    on_workers([] {
      auto t = bide::spawn([] { bide::sleep_for(60ms); });
      CHECK(t.join(bide::deadline::after(5ms)) == bide::wait_result::expired);
      CHECK(!t.done());
      CHECK(t.join(bide::deadline::never()) == bide::wait_result::ready);
      CHECK(t.done());
    });
  }

  // asyncio: task.cancel() raises CancelledError at the await the task is in, once; who catches it goes on. await of it raises.
  TEST_CASE("a cancel ends the wait it finds, once, and get says so") {
    on_workers([] {
      auto sleeper = bide::spawn([] { bide::sleep_for(1h); });
      auto survivor = bide::spawn([] {
        const int first = usleep(900'000);
        const int error = errno;
        const int second = usleep(1000);
        return first == -1 && error == ECANCELED && second == 0;
      });
      bide::sleep_for(5ms);
      sleeper.cancel();
      survivor.cancel();
      CHECK_THROWS_AS(sleeper.get(), bide::cancelled);
      CHECK(survivor.get());
    });
  }

  TEST_CASE("a cancel that comes before a wait is kept for it") {
    bide::run([] {
      auto t = bide::spawn([] { bide::sleep_for(1h); });
      t.cancel();  // it has not begun
      CHECK_THROWS_AS(t.get(), bide::cancelled);
    });
  }

  // asyncio: CancelledError derives from BaseException, so `except Exception` lets it pass.
  TEST_CASE("cancelled passes a handler of std::exception") {
    bide::run([] {
      auto t = bide::spawn([] {
        try {
          bide::sleep_for(1h);
        } catch (const std::exception&) {
        }
      });
      bide::yield();
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
    });
  }

  // asyncio: create_task(f(), name='x'), get_name(); without one "Task-<n>".
  TEST_CASE("names and numbers are the fiber's own") {
    bide::run([] {
      auto named = bide::spawn({.name = "reader"}, [] { return bide::this_fiber::name(); });
      CHECK(named.name() == "reader");
      CHECK(named.get() == "reader");
      auto plain = bide::spawn([] { return bide::this_fiber::id(); });
      const auto id = plain.id();
      CHECK(plain.name() == "fiber-" + std::to_string(id));
      CHECK(plain.get() == id);
    });
    CHECK(bide::this_fiber::id() == 0);
    CHECK(bide::this_fiber::name().empty());
  }

  TEST_CASE("errno and exceptions are the fiber's own") {
    on_workers([] {
      std::vector<bide::task<bool>> all;
      for (int i = 1; i < 50; ++i) {
        all.push_back(bide::spawn([i] {
          bool well = true;
          try {
            throw i;
          } catch (int caught) {
            errno = i;
            for (int turn = 0; turn < 20; ++turn) {
              bide::yield();
              well = well && errno == i && std::uncaught_exceptions() == 0;
            }
            try {
              throw;
            } catch (int again) {
              well = well && again == caught;
            }
          }
          return well;
        }));
      }
      for (auto& t : all) CHECK(t.get());
    });
  }

  TEST_CASE("a handle may be used and dropped on a plain thread, and outlive its runtime") {
    for (const unsigned workers : {1u, 2u, 4u}) {
      std::optional<bide::task<int>> kept;
      bide::run(
          [&] {
            bide::event go;
            auto slow = bide::spawn([&] {
              go.wait();
              return 3;
            });
            auto forever = bide::spawn([] { bide::sleep_for(1h); });
            std::thread other([&, mine = std::move(slow)]() mutable {
              CHECK(mine.join(bide::deadline::after(1ms)) == bide::wait_result::expired);
              go.set();
              CHECK(mine.get() == 3);
              forever.cancel();
              forever.cancel();
            });
            CHECK_THROWS_AS(forever.get(), bide::cancelled);
            bide::offload([&] { other.join(); });
            kept = bide::spawn([] { return 4; });
            kept->join();
          },
          {.workers = workers});
      CHECK(kept->get() == 4);
    }
  }

  TEST_CASE("handles that threads drop, cancel and join in a storm are all served") {
    on_workers([] {
      std::atomic<int> ended = 0;
      std::vector<std::thread> threads;
      std::vector<std::vector<bide::task<void>>> given(4);
      for (auto& mine : given) {
        for (int i = 0; i < 200; ++i) {
          mine.push_back(bide::spawn([&] {
            struct count {
              std::atomic<int>& n;
              ~count() { ++n; }
            } at_end{ended};
            bide::sleep_for(1h);
          }));
        }
      }
      for (auto& mine : given) {
        threads.emplace_back([&mine] {
          for (auto& t : mine) t.cancel();
          for (std::size_t i = 0; i < mine.size(); i += 2) t_join(mine[i]);
          mine.clear();
        });
      }
      bide::offload([&] {
        for (auto& t : threads) t.join();
      });
      while (ended < 800) bide::sleep_for(1ms);
    });
  }
}
