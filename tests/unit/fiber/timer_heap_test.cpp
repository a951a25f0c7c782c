#include "lib/fiber/timer_heap.hpp"

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <random>
#include <vector>

#include "support/sanitizer.hpp"

using namespace bide::core;

namespace {

struct open_heap : timer_heap {
  open_heap() { REQUIRE(open()); }
  ~open_heap() { close(); }
};

}  // namespace

TEST_SUITE("fiber/timer_heap") {
  TEST_CASE("an empty heap has nothing to pop and never comes next") {
    open_heap heap;
    CHECK(heap.empty());
    CHECK(heap.next() == bide::base::never);
    CHECK(heap.pop(bide::base::never) == nullptr);
  }

  TEST_CASE("timers come out in order of their time, and not before it") {
    open_heap heap;
    timer t[5];
    const std::int64_t at[5] = {30, 10, 50, 20, 40};
    for (int i = 0; i < 5; ++i) heap.arm(t[i], at[i]);
    CHECK(heap.next() == 10);
    CHECK(heap.pop(9) == nullptr);
    CHECK(heap.pop(10) == &t[1]);
    CHECK_FALSE(t[1].armed());
    CHECK(heap.pop(35) == &t[3]);
    CHECK(heap.pop(35) == &t[0]);
    CHECK(heap.pop(35) == nullptr);
    heap.disarm(t[4]);
    CHECK(heap.next() == 50);
    CHECK(heap.pop(50) == &t[2]);
    CHECK(heap.empty());
  }

  TEST_CASE("after random operations it holds what an ordered map holds") {
    open_heap heap;
    std::multimap<std::int64_t, timer*> model;
    std::vector<std::unique_ptr<timer>> timers;
    for (int i = 0; i < 500; ++i) timers.push_back(std::make_unique<timer>());
    std::mt19937_64 random(7);
    const auto forget = [&](timer* t) {
      for (auto it = model.begin(); it != model.end(); ++it) {
        if (it->second != t) continue;
        model.erase(it);
        return;
      }
    };
    bool same = true;
    for (int i = 0; i < unit::rounds(50'000) && same; ++i) {
      timer* t = timers[random() % timers.size()].get();
      switch (random() % 4) {
        case 0: case 1:
          if (!t->armed()) {
            const auto at = static_cast<std::int64_t>(random() % 1000);
            heap.arm(*t, at);
            model.emplace(at, t);
          } else {
            heap.disarm(*t);
            forget(t);
          }
          break;
        case 2: {
          // Of several at the same time any may be first.
          const auto now = static_cast<std::int64_t>(random() % 1000);
          timer* popped = heap.pop(now);
          const bool due = !model.empty() && model.begin()->first <= now;
          same = due == (popped != nullptr);
          if (popped) {
            bool among_first = false;
            for (auto [it, end] = model.equal_range(model.begin()->first); it != end; ++it)
              among_first = among_first || it->second == popped;
            same = same && among_first && !popped->armed();
            forget(popped);
          }
          break;
        }
        default: break;
      }
      same = same && heap.size() == model.size() && heap.empty() == model.empty() &&
             heap.next() == (model.empty() ? bide::base::never : model.begin()->first);
    }
    CHECK(same);
    std::size_t armed = 0;
    for (const auto& t : timers) armed += t->armed();
    CHECK(armed == model.size());
  }

  TEST_CASE("a read timeout that is armed and disarmed at the bottom leaves the rest in place") {
    open_heap heap;
    std::vector<std::unique_ptr<timer>> sleeping;
    for (int i = 0; i < 1000; ++i) {
      sleeping.push_back(std::make_unique<timer>());
      heap.arm(*sleeping.back(), 1'000'000 + i);
    }
    timer timeout;
    for (int i = 0; i < 1000; ++i) {
      heap.arm(timeout, 2'000'000 + i);
      heap.disarm(timeout);
    }
    for (int i = 0; i < 1000; ++i) REQUIRE(heap.pop(1'000'000 + i) == sleeping[static_cast<std::size_t>(i)].get());
  }

  TEST_CASE("clearing forgets them all") {
    open_heap heap;
    timer a, b;
    heap.arm(a, 1);
    heap.arm(b, 2);
    heap.clear();
    CHECK(heap.empty());
    CHECK(heap.pop(10) == nullptr);
  }
}
