// Registers, the floating-point environment and unwinding across switches.
#include "lib/context/switch.hpp"

#include <doctest/doctest.h>
#include <execinfo.h>
#include <fenv.h>
#include <unwind.h>
#include <xmmintrin.h>

#include <cmath>
#include <vector>

#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

extern "C" long bide_test_sentinels(long seed, void (*call)(void*), void* argument);

using namespace unit;

namespace {

std::uint16_t x87_control() {
  std::uint16_t word;
  asm volatile("fnstcw %0" : "=m"(word));
  return word;
}
void set_x87_control(std::uint16_t word) { asm volatile("fldcw %0" : : "m"(word)); }

bool is_in_entry(const void* address) {
  const auto entry = reinterpret_cast<std::uintptr_t>(&bide::context::bide_fiber_entry);
  const auto a = reinterpret_cast<std::uintptr_t>(address);
  return a > entry && a < entry + 64;
}

[[gnu::noinline]] int frames_at_depth(int depth, void** frames, int room) {
  if (depth == 0) return backtrace(frames, room);
  const int count = frames_at_depth(depth - 1, frames, room);
  asm volatile("" : : : "memory");  // no tail call
  return count;
}

struct walk {
  int frames = 0;
  const void* last = nullptr;
};
_Unwind_Reason_Code count_frame(_Unwind_Context* context, void* p) {
  auto& w = *static_cast<walk*>(p);
  ++w.frames;
  w.last = reinterpret_cast<void*>(_Unwind_GetIP(context));
  return w.frames > 1000 ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

}  // namespace

TEST_SUITE("context/switch") {
  TEST_CASE("callee-saved registers hold their values across a yield, a sleep and a wake from elsewhere") {
    on_workers([] {
      bide::semaphore turns;
      std::vector<bide::task<long>> tasks;
      for (long i = 0; i < 6; ++i) {
        tasks.push_back(bide::spawn([i, &turns] {
          long changed = 0;
          for (long k = 0; k < 50; ++k) {
            const long seed = i * 1'000'000 + k * 1000;
            changed += bide_test_sentinels(seed, [](void*) { bide::yield(); }, nullptr);
            changed += bide_test_sentinels(seed, [](void*) { bide::sleep_for(std::chrono::microseconds(1)); }, nullptr);
            changed += bide_test_sentinels(seed, [](void* s) { static_cast<bide::semaphore*>(s)->acquire(); }, &turns);
          }
          return changed;
        }));
      }
      for (int i = 0; i < 300; ++i) {
        turns.release();
        bide::yield();
      }
      for (auto& t : tasks) CHECK(t.get() == 0);
    });
  }

  TEST_CASE("the sentinels notice a changed register") {
    // Otherwise the test above could not fail.
    CHECK(bide_test_sentinels(5, [](void*) {}, nullptr) == 0);
    CHECK(bide_test_sentinels(5, [](void*) { asm volatile("xorl %%ebx, %%ebx" : : :); }, nullptr) == 1);
  }

  TEST_CASE("rounding and flush-to-zero are a fiber's own, in SSE and x87") {
    on_workers([] {
      const auto rounds_as = [](int mode, double expected, unsigned flags) {
        return bide::spawn([=] {
          std::fesetround(mode);
          _mm_setcsr(_mm_getcsr() | flags);
          const std::uint16_t control = x87_control();
          bool right = true;
          for (int i = 0; i < 100; ++i) {
            bide::yield();
            volatile double x = 2.5;
            right = right && std::nearbyint(x) == expected && std::fegetround() == mode;
            right = right && (_mm_getcsr() & 0x8040) == flags && x87_control() == control;
          }
          return right;
        });
      };
      const unsigned ours = _mm_getcsr();
      auto up = rounds_as(FE_UPWARD, 3, 0x8040), down = rounds_as(FE_DOWNWARD, 2, 0);
      auto near = rounds_as(FE_TONEAREST, 2, 0x8000);
      auto single = bide::spawn([] {
        set_x87_control(0x007f);  // 24-bit precision
        bool right = true;
        for (int i = 0; i < 100; ++i) {
          bide::yield();
          right = right && x87_control() == 0x007f;
        }
        return right;
      });
      CHECK(up.get());
      CHECK(down.get());
      CHECK(near.get());
      CHECK(single.get());
      CHECK((_mm_getcsr() & ~0x3fu) == (ours & ~0x3fu));
      CHECK(std::fegetround() == FE_TONEAREST);
    });
  }

  TEST_CASE("backtrace() from a fiber ends at the fiber's entry") {
    in_runtime([] {
      auto deep = bide::spawn([] {
        void* frames[200];
        const int count = frames_at_depth(20, frames, 200);
        CHECK(count > 20);
        CHECK(count < 60);
        CHECK(is_in_entry(frames[count - 1]));
      });
      deep.get();
      void* frames[200];
      const int count = backtrace(frames, 200);  // the first fiber's as well
      CHECK(count < 100);
      CHECK(is_in_entry(frames[count - 1]));
    });
  }

  TEST_CASE("the unwinder says that the stack ended, not that it got lost") {
    in_runtime([] {
      walk w;
      CHECK(_Unwind_Backtrace(count_frame, &w) == _URC_END_OF_STACK);
      CHECK(w.frames < 100);
    });
  }

  TEST_CASE("a stack of 16 KiB is enough for a fiber that parks, throws and catches") {
    SKIP_IF(asan || tsan, "a checked build has larger frames");
    on_workers([] {
      auto small = bide::spawn({.stack_size = 16 * 1024}, [] {
        bide::sleep_for(std::chrono::microseconds(10));
        try {
          throw 42;
        } catch (int n) {
          bide::yield();
          return n;
        }
      });
      CHECK(small.get() == 42);
    });
  }
}
