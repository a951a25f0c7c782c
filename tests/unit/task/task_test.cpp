#include <bide/task.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "lib/context/stack.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using bide::deadline;
using bide::wait_result;
using std::chrono::microseconds;

namespace {

// Expects a std::system_error of that code, with those words in what it says.
template <class F>
bool fails_with(int error, std::string_view words, F f) {
  try {
    f();
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::error_code(error, std::generic_category()));
    INFO(e.what());
    CHECK(std::string_view(e.what()).find(words) != std::string_view::npos);
    return true;
  }
  return false;
}

const scene uncollected{"uncollected", [] {
  bide::run([] {
    auto dropped = bide::spawn({.name = "careless"}, [] { throw std::runtime_error("lost words"); });
    while (!dropped.done()) bide::yield();
    dropped = {};
    bide::spawn({.name = "detached"}, [] { throw std::logic_error("other words"); });
    bide::spawn([] { throw 42; }).join();
    auto taken = bide::spawn([] { throw std::runtime_error("collected words"); });
    try {
      taken.get();
    } catch (const std::runtime_error&) {
    }
    bide::spawn([] { bide::sleep_for(std::chrono::hours(1)); }).cancel();  // a cancellation is no news
    for (int i = 0; i < 10; ++i) bide::yield();
  });
}};

const scene dropped_elsewhere{"dropped elsewhere", [] {
  std::optional<bide::task<void>> handle;
  bide::run([&] {
    handle = bide::spawn({.name = "abroad"}, [] { throw std::runtime_error("from afar"); });
    handle->join();
  });
  std::thread([&] { handle.reset(); }).join();
}};

}  // namespace

TEST_SUITE("task/task") {
  TEST_CASE("get returns what the fiber returned") {
    on_workers([] {
      CHECK(bide::spawn([] { return 7; }).get() == 7);
      bide::spawn([] {}).get();
      CHECK(*bide::spawn([] { return std::make_unique<int>(8); }).get() == 8);
      int here = 0;
      int& there = bide::spawn([&]() -> int& { return here; }).get();
      CHECK(&there == &here);
      const int& read_only = bide::spawn([&]() -> const int& { return here; }).get();
      CHECK(&read_only == &here);
      CHECK(bide::spawn([] { return std::string(1000, 'x'); }).get() == std::string(1000, 'x'));
    });
  }

  TEST_CASE("a result of kilobytes arrives whole") {
    on_workers([] {
      using block = std::array<std::uint32_t, 4096>;
      const auto got = bide::spawn([] {
        block b;
        for (std::uint32_t i = 0; i < b.size(); ++i) b[i] = i * i;
        return b;
      }).get();
      bool right = true;
      for (std::uint32_t i = 0; i < got.size(); ++i) right = right && got[i] == i * i;
      CHECK(right);
    });
  }

  TEST_CASE("what is too large for a stack is refused with the way out") {
    in_runtime([] {
      // Elsewhere than on this stack: a checked build keeps each copy's place apart.
      const auto kept = std::make_unique<std::array<char, 100'000>>();
      auto& large = *kept;
      CHECK(fails_with(EINVAL, "by pointer", [&] { bide::spawn([large] { return large[0]; }); }));
      CHECK(bide::spawn({.stack_size = 1 << 20}, [large] { return large[5]; }).get() == 0);
    });
  }

  TEST_CASE("an over-aligned capture is aligned where it runs") {
    struct alignas(512) wide {
      char bytes[512] = {1};
    };
    on_workers([] {
      const wide w;
      auto aligned = bide::spawn([w] { return reinterpret_cast<std::uintptr_t>(&w) % 512 == 0 && w.bytes[0] == 1; });
      CHECK(aligned.get());
      CHECK(bide::spawn([w] { return w; }).get().bytes[0] == 1);
    });
  }

  TEST_CASE("arguments are taken by value, moved along, and by reference where std::ref says so") {
    on_workers([] {
      std::string text = "before";
      auto copy = bide::spawn([](const std::string& s) { return s; }, text);
      text = "after";
      CHECK(copy.get() == "before");
      auto moved = bide::spawn([](std::unique_ptr<int> p) { return *p; }, std::make_unique<int>(5));
      CHECK(moved.get() == 5);
      int counter = 0;
      bide::spawn([](int& n, int by) { n += by; }, std::ref(counter), 3).get();
      CHECK(counter == 3);
      struct machine {
        int state = 1;
        int add(int n) { return state += n; }
      } m;
      CHECK(bide::spawn(&machine::add, &m, 4).get() == 5);
      CHECK(m.state == 5);
      CHECK(bide::spawn([u = std::make_unique<int>(9)] { return *u; }).get() == 9);
    });
  }

  TEST_CASE("the callable and its captures die with the call, not with the handle") {
    in_runtime([] {
      const auto shared = std::make_shared<int>(4);
      auto t = bide::spawn([mine = shared] { return *mine; });
      CHECK(shared.use_count() == 2);
      t.join();
      CHECK(shared.use_count() == 1);
      CHECK(t.get() == 4);
    });
  }

  TEST_CASE("the result dies with the handle when nobody takes it") {
    on_workers([] {
      std::atomic<int> alive{0};
      struct held {
        std::atomic<int>* n;
        explicit held(std::atomic<int>& count) : n(&count) { ++*n; }
        held(held&& other) noexcept : n(other.n) { ++*n; }
        ~held() { --*n; }
      };
      auto kept = bide::spawn([&] { return held(alive); });
      kept.join();
      CHECK(alive == 1);
      kept = {};
      until([&] { return alive == 0; });
      bide::spawn([&] { return held(alive); });  // dropped before it has run
      while (count_fibers().others) bide::yield();
      CHECK(alive == 0);
    });
  }

  TEST_CASE("what the fiber throws reaches get, as it was thrown") {
    on_workers([] {
      struct special : std::runtime_error {
        using runtime_error::runtime_error;
        int number = 17;
      };
      auto t = bide::spawn([]() -> int { throw special("on purpose"); });
      try {
        t.get();
        FAIL("nothing was thrown");
      } catch (const special& e) {
        CHECK(e.number == 17);
        CHECK(e.what() == std::string("on purpose"));
      }
      auto number = bide::spawn([] { throw 5; });
      CHECK_THROWS_AS(number.get(), int);
      auto joined = bide::spawn([] { throw std::runtime_error("not for join"); });
      joined.join();
      CHECK(joined.done());
      CHECK_THROWS_WITH(joined.get(), "not for join");
    });
  }

  TEST_CASE("an exception that nobody collects is told of on stderr, with the fiber and where it was spawned") {
    const auto end = uncollected.play();
    INFO(end.text);
    CHECK(end.exited(0));
    CHECK(end.says("'careless' (spawned at "));
    CHECK(end.says("task_test.cpp:"));
    CHECK(end.says("threw: lost words"));
    CHECK(end.says("'detached'"));
    CHECK(end.says("other words"));
    CHECK(end.says("an exception that is no std::exception"));
    CHECK_FALSE(end.says("collected words"));
    CHECK(end.times("nobody collected") == 3);
  }

  TEST_CASE("a handle that outlives run and is dropped on another thread tells of it too") {
    const auto end = dropped_elsewhere.play();
    INFO(end.text);
    CHECK(end.exited(0));
    CHECK(end.times("from afar") == 1);
  }

  TEST_CASE("a second get, an empty handle and waiting for oneself are refused") {
    on_workers([] {
      auto t = bide::spawn({.name = "once"}, [] { return 1; });
      CHECK(t.get() == 1);
      CHECK(fails_with(EINVAL, "once", [&] { t.get(); }));
      t.join();  // still fine
      auto threw = bide::spawn([]() -> int { throw 1; });
      CHECK_THROWS_AS(threw.get(), int);
      CHECK(fails_with(EINVAL, "already taken", [&] { threw.get(); }));

      bide::task<int> empty;
      CHECK(fails_with(EINVAL, "empty", [&] { empty.get(); }));
      CHECK(fails_with(EINVAL, "empty", [&] { empty.join(); }));
      CHECK_FALSE(empty);
      CHECK_FALSE(empty.done());
      CHECK(empty.name().empty());
      CHECK(empty.id() == 0);
      empty.cancel();

      bide::semaphore handed;
      std::optional<bide::task<void>> self;
      self = bide::spawn({.name = "narcissus"}, [&] {
        handed.acquire();
        CHECK(fails_with(EDEADLK, "narcissus", [&] { self->join(); }));
      });
      handed.release();
      self->get();
    });
  }

  TEST_CASE("a moved handle leaves nothing behind, and assigning lets the former fiber go on") {
    on_workers([] {
      bide::semaphore go;
      std::atomic<bool> went_on{false};
      auto a = bide::spawn([&] {
        go.acquire();
        went_on = true;
        return 1;
      });
      auto b = std::move(a);
      CHECK_FALSE(a);
      CHECK(b);
      b = bide::spawn([] { return 2; });
      CHECK(b.get() == 2);
      CHECK_FALSE(went_on);
      go.release();
      until([&] { return went_on.load(); });
      bide::task<int> c;
      c.swap(b);
      CHECK_FALSE(b);
      CHECK(c);
    });
  }

  TEST_CASE("name and number are those that the fiber itself sees") {
    on_workers([] {
      auto named = bide::spawn({.name = std::string("copied ") + "name"}, [] {
        return std::pair(bide::this_fiber::name(), bide::this_fiber::id());
      });
      CHECK(named.name() == "copied name");
      const auto id = named.id();
      CHECK(named.get() == std::pair(std::string("copied name"), id));
      CHECK(named.name() == "copied name");  // also when it has ended
      auto nameless = bide::spawn([] { return bide::this_fiber::name(); });
      CHECK(nameless.name() == "fiber-" + std::to_string(nameless.id()));
      CHECK(nameless.get() == nameless.name());
    });
  }

  TEST_CASE("done tells without waiting") {
    in_runtime([] {
      auto t = bide::spawn([] { bide::yield(); });
      CHECK_FALSE(t.done());
      bide::yield();
      CHECK_FALSE(t.done());
      bide::yield();
      CHECK(t.done());
    });
  }

  TEST_CASE("a cancelled fiber unwinds, and get says cancelled") {
    on_workers([] {
      std::atomic<bool> unwound{false};
      struct at_end {
        std::atomic<bool>& flag;
        ~at_end() { flag = true; }
      };
      auto t = bide::spawn([&] {
        const at_end guard{unwound};
        try {
          bide::sleep_for(std::chrono::hours(1));
        } catch (const std::exception&) {
          FAIL("cancelled is no std::exception");
        }
      });
      until_parked(1);
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
      CHECK(unwound);
    });
  }

  TEST_CASE("a fiber that handles its cancellation returns as usual") {
    on_workers([] {
      auto t = bide::spawn([] {
        try {
          bide::sleep_for(std::chrono::hours(1));
        } catch (const bide::cancelled&) {
          return std::string("tidied up");
        }
        return std::string();
      });
      t.cancel();  // before it has run
      CHECK(t.get() == "tidied up");
    });
  }

  TEST_CASE("the caller's own cancellation ends its get, and the other fiber goes on") {
    on_workers([] {
      bide::semaphore go;
      auto slow = bide::spawn([&] {
        go.acquire();
        return 1;
      });
      auto waits = bide::spawn([&] { return slow.get(); });
      until_parked(2);
      waits.cancel();
      CHECK_THROWS_AS(waits.get(), bide::cancelled);
      CHECK_FALSE(slow.done());
      go.release();
      CHECK(slow.get() == 1);
    });
  }

  TEST_CASE("a plain thread spawns nothing, but joins, cancels and gets") {
    CHECK(fails_with(EPERM, "outside a runtime", [] { bide::spawn([] {}); }));
    on_workers([] {
      auto t = bide::spawn([] {
        try {
          bide::sleep_for(std::chrono::hours(1));
        } catch (const bide::cancelled&) {
        }
        return 6;
      });
      int got = 0;
      bool refused = false;
      wait_result early = wait_result::ready;
      plain_thread other([&] {
        refused = fails_with(EPERM, "outside", [] { bide::spawn([] {}); });
        early = t.join(deadline::after(microseconds(300)));
        t.cancel();
        got = t.get();
        t = {};
      });
      other.join();
      CHECK(refused);
      CHECK(early == wait_result::expired);
      CHECK(got == 6);
    });
  }

  TEST_CASE("stacks that one worker ends with too many of serve another one that makes more than it ends") {
    // Goal: no stack's pages go back to the kernel while another fiber is about to need some.
    // Method: half of what is spawned here ends on the other worker, more than a worker keeps.
    const leftovers none;
    bide::run([&] {
      const std::size_t cold = bide::context::count_stacks().cold;
      std::size_t carved = 0;
      for (int wave = 0; wave < 400; ++wave) {
        std::vector<bide::task<void>> tasks;
        for (int i = 0; i < 16; ++i) tasks.push_back(bide::spawn([] {}));
        for (auto& each : tasks) each.join();
        if (wave == 200) carved = bide::context::count_stacks().carved;
      }
      CHECK(bide::context::count_stacks().cold <= cold);
      CHECK(bide::context::count_stacks().carved <= carved + 32);
    }, {.workers = 2});
  }

  TEST_CASE("a handle outlives its runtime, and another one") {
    const leftovers none;
    std::vector<bide::task<std::string>> kept;
    for (int round = 0; round < 2; ++round) {
      bide::run([&] {
        for (int i = 0; i < 5; ++i) {
          kept.push_back(bide::spawn({.name = "kept"}, [] { return std::string(100, 'k'); }));
          kept.back().join();
        }
      }, {.workers = 2});
    }
    CHECK(kept.back().done());
    CHECK(kept.back().name() == "kept");
    kept.back().cancel();
    CHECK(kept.back().join(deadline::from_ns(0)) == wait_result::ready);
    for (std::size_t i = 0; i < kept.size(); i += 2) CHECK(kept[i].get() == std::string(100, 'k'));
    kept.resize(7);
    std::thread([&] { kept.resize(3); }).join();
    bide::run([&] { kept.clear(); });
  }

  TEST_CASE("a copy that throws spawns nothing and loses no stack") {
    struct throws_on_copy {
      throws_on_copy() = default;
      throws_on_copy(const throws_on_copy&) { throw std::runtime_error("no copy"); }
      void operator()() const {}
    };
    on_workers([] {
      const throws_on_copy f;
      for (int i = 0; i < 20; ++i) CHECK_THROWS_WITH(bide::spawn(f), "no copy");
      CHECK(count_fibers().others == 0);
    });
  }

  TEST_CASE("a stack size out of bounds is refused, one in between is rounded up") {
    in_runtime([] {
      CHECK(fails_with(EINVAL, "1024", [] { bide::spawn({.stack_size = 1024}, [] {}); }));
      CHECK(fails_with(EINVAL, "16 KiB to 1 GiB", [] { bide::spawn({.stack_size = std::size_t{2} << 30}, [] {}); }));
      bide::spawn({.stack_size = 100'000}, [] {}).get();
      bide::spawn({.stack_size = std::size_t{1} << 30}, [] {}).get();
    });
  }

  TEST_CASE("fibers spawn fibers, deep and wide") {
    on_workers([] {
      struct tree {
        static int grow(int depth) {
          if (depth == 0) return 1;
          auto left = bide::spawn(grow, depth - 1), right = bide::spawn(grow, depth - 1);
          return left.get() + right.get();
        }
      };
      CHECK(tree::grow(sanitized ? 5 : 9) == (sanitized ? 32 : 512));
    });
  }

  TEST_CASE("the next fiber goes where the fewest are") {
    in_runtime([] {
      bide::semaphore hold;
      std::vector<bide::task<unsigned>> tasks;
      unsigned where[4] = {};
      for (int i = 0; i < 11; ++i) {
        tasks.push_back(bide::spawn([&] {
          hold.acquire();
          return here();
        }));
      }
      hold.release(11);
      for (auto& t : tasks) ++where[t.get()];
      CHECK(where[0] == 2);  // and the first fiber
      for (int i = 1; i < 4; ++i) CHECK(where[i] == 3);
    }, {.workers = 4});
  }
}
