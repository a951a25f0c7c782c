// Futexes under faults: no wake is lost, none counted twice, whoever is late, interrupted or gone.
#include <doctest/doctest.h>

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "lib/base/clock.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/runtime.hpp"

using namespace unit;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

using word = std::atomic<std::uint32_t>;

long futex(word& at, int operation, long value, const timespec* limit = nullptr, word* to = nullptr, long value3 = 0) {
  return make_call(SYS_futex, &at, operation, value, limit, to, value3);
}

timespec until(std::int64_t when) { return bide::base::to_timespec(when); }
long wait_until(word& at, std::int64_t when, int shared = FUTEX_PRIVATE_FLAG) {
  const timespec t = until(when);
  return futex(at, FUTEX_WAIT_BITSET | shared, 0, &t, nullptr, FUTEX_BITSET_MATCH_ANY);
}

// Holds the caller's worker until then.
void hold(std::int64_t when) {
  while (bide::base::now() < when) {}
}

// The mutex of "Futexes are tricky" (Drepper), number two.
class tricky_mutex {
 public:
  explicit tricky_mutex(int shared) : shared_(shared) {}
  void lock() {
    std::uint32_t was = 0;
    if (state_.compare_exchange_strong(was, 1)) return;
    if (was != 2) was = state_.exchange(2);
    while (was != 0) {
      futex(state_, FUTEX_WAIT | shared_, 2);
      was = state_.exchange(2);
    }
  }
  void unlock() {
    if (state_.fetch_sub(1) == 1) return;
    state_ = 0;
    futex(state_, FUTEX_WAKE | shared_, 1);
  }

 private:
  word state_{0};
  const int shared_;
};

}  // namespace

TEST_SUITE("call/futex") {
  TEST_CASE("who is woken and gets its turn after its limit was woken, not too late") {
    in_runtime([] {
      word w{0};
      const std::int64_t limit = bide::base::now() + 20'000'000;
      auto waits = bide::spawn([&] { return wait_until(w, limit); });
      until_parked(1);
      CHECK(futex(w, FUTEX_WAKE_PRIVATE, 1) == 1);
      hold(limit + 1'000'000);
      CHECK(waits.get() == 0);
    });
  }

  TEST_CASE("a wake is not spent on one whose limit has passed") {
    // Goal: of two that wait the one that can be woken is. Method: both its waker and the first have their time at once, and
    // the waker is first of these.
    in_runtime([] {
      word w{0};
      const std::int64_t limit = bide::base::now() + 20'000'000;
      auto wakes = bide::spawn([&] {
        const timespec t = until(limit);
        CHECK(make_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == 0);
        return futex(w, FUTEX_WAKE_PRIVATE, 1);
      });
      auto late = bide::spawn([&] { return wait_until(w, limit + 1); });
      auto waits = bide::spawn([&] { return futex(w, FUTEX_WAIT_PRIVATE, 0); });
      until_parked(3);
      hold(limit + 1'000'000);
      CHECK(wakes.get() == 1);
      CHECK(late.get() == -ETIMEDOUT);
      CHECK(waits.get() == 0);
    });
  }

  TEST_CASE("a wake that comes with a cancel is the wait's end, and the cancel the next one's") {
    on_workers([] {
      word w{0};
      auto waits = bide::spawn([&] {
        const long first = futex(w, FUTEX_WAIT_PRIVATE, 0);
        const timespec hour{3600, 0};
        CHECK(make_call(SYS_nanosleep, &hour, nullptr) == -ECANCELED);
        return first;
      });
      until_parked(1);
      CHECK(futex(w, FUTEX_WAKE_PRIVATE, 1) == 1);
      waits.cancel();
      CHECK(waits.get() == 0);
    });
  }

  TEST_CASE("woken for nothing it says so, and whoever wakes then finds nobody") {
    in_runtime([] {
      word w{0};
      auto waits = bide::spawn([&] { return futex(w, FUTEX_WAIT_PRIVATE, 0); });
      until_parked(1);
      wake_for_nothing();
      CHECK(waits.get() == -EINTR);  // futex(2): "or spurious wakeup"
      CHECK(futex(w, FUTEX_WAKE_PRIVATE, 1) == 0);
    });
  }

  TEST_CASE("one that was requeued is woken at its new word, and its limit still counts") {
    in_runtime([] {
      word from{0}, to{0};
      const std::int64_t limit = bide::base::now() + 20'000'000;
      auto first = bide::spawn([&] { return futex(from, FUTEX_WAIT_PRIVATE, 0); });
      auto late = bide::spawn([&] { return wait_until(from, limit); });
      auto last = bide::spawn([&] { return futex(from, FUTEX_WAIT_PRIVATE, 0); });
      until_parked(3);
      const auto all = reinterpret_cast<const timespec*>(long{10});  // of this operation the fourth argument is a count
      CHECK(futex(from, FUTEX_CMP_REQUEUE_PRIVATE, 0, all, &to, 1) == -EAGAIN);
      CHECK(futex(from, FUTEX_CMP_REQUEUE_PRIVATE, 1, all, &to, 0) == 3);
      CHECK(first.get() == 0);
      CHECK(late.get() == -ETIMEDOUT);
      CHECK(futex(from, FUTEX_WAKE_PRIVATE, 10) == 0);
      CHECK(futex(to, FUTEX_WAKE_PRIVATE, 10) == 1);
      CHECK(last.get() == 0);
    });
  }

  TEST_CASE("what the kernel refuses of a requeue or of two wakes in one is refused, and wakes nobody") {
    in_runtime([] {
      word a{0}, b{0};
      auto waits = bide::spawn([&] { return futex(b, FUTEX_WAIT_PRIVATE, 0); });
      until_parked(1);
      const auto one = reinterpret_cast<const timespec*>(long{1});
      const long set_one = FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0);
      fault_plan faults;
      for (const int operation : {FUTEX_REQUEUE_PRIVATE, FUTEX_CMP_REQUEUE_PRIVATE, FUTEX_WAKE_OP_PRIVATE}) {
        for (const int error : {EFAULT, EINVAL, ENOMEM}) {
          faults.on(SYS_futex).call(faults.calls(SYS_futex) + 1).fail_with(error);
          CHECK(futex(a, operation, 1, one, &b, operation == FUTEX_WAKE_OP_PRIVATE ? set_one : 0) == -error);
        }
      }
      CHECK(faults.faults() == 9);
      CHECK(!waits.done());
      CHECK(b == 0);
      CHECK(futex(a, FUTEX_WAKE_OP_PRIVATE, 1, one, &b, set_one) == 1);
      CHECK(b == 1);
      CHECK(waits.get() == 0);
    });
  }

  TEST_CASE("a shared word's wait answers as the kernel does, and goes on where that was interrupted for nothing") {
    on_workers([] {
      word w{0};
      for (const int error : {EAGAIN, ETIMEDOUT, EFAULT, ENOMEM}) {
        fault_plan faults;
        faults.on(SYS_futex).call(1).fail_with(EINTR);
        faults.on(SYS_futex).call(2).fail_with(error);
        CHECK(futex(w, FUTEX_WAIT, 0) == -error);
      }
      fault_plan faults;
      faults.on(SYS_futex).call(1).first([&] {
        w = 1;  // changed while it is on its way there
        bide::sleep_for(microseconds(500));
      });
      CHECK(futex(w, FUTEX_WAIT, 0) == -EAGAIN);
    });
  }

  TEST_CASE("under faults a mutex made of a futex lets in one at a time, and all in the end") {
    for (const int shared : {FUTEX_PRIVATE_FLAG, 0}) {
      CAPTURE(shared);
      on_workers([shared] {
        tricky_mutex mutex(shared);
        int inside = 0, sum = 0, worst = 0;
        fault_plan faults;
        faults.on(SYS_futex).every(5, 1).first([] { bide::sleep_for(microseconds(50)); });
        faults.on(SYS_futex).every(5, 2).fail_with(EAGAIN);
        {
          bide::group all;
          for (int i = 0; i < 8; ++i) {
            all.spawn([&] {
              for (int round = 0; round < 50; ++round) {
                mutex.lock();
                worst = std::max(worst, ++inside);
                bide::sleep_for(microseconds(round % 5 ? 0 : 200));  // so that the others come and wait
                ++sum;
                --inside;
                mutex.unlock();
                if (round % 7 == 0) bide::yield();
              }
            });
          }
          auto wakes = bide::spawn([] {
            for (;; wake_for_nothing()) bide::sleep_for(microseconds(300));
          });
          all.wait();
          wakes.cancel();
          wakes.join();
        }
        CHECK(sum == 400);
        CHECK(worst == 1);
        if (!shared) CHECK(faults.faults() > 10);  // the others know of each other without the kernel
      });
    }
  }
}
