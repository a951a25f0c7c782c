// Rows 1 to 6 and 14 on Boost.Fiber, one thread, round robin: what the same programs cost there.

#include "locking.hpp"
#include "parked.hpp"
#include "switching.hpp"
#include "timeout.hpp"

#include <boost/fiber/all.hpp>

#include <unistd.h>
#include <chrono>
#include <utility>

namespace {

namespace fibers = boost::fibers;
constexpr const char* subject = "boost";

// std::chrono::steady_clock is CLOCK_MONOTONIC in nanoseconds with libstdc++.
std::chrono::steady_clock::time_point point(std::int64_t ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

struct runtime {
  using fiber = fibers::fiber;

  struct gate {
    fibers::mutex lock;
    fibers::condition_variable opened;
    bool is_open = false;
    void wait() {
      std::unique_lock held(lock);
      while (!is_open) opened.wait(held);
    }
    void open(long) {
      std::unique_lock held(lock);
      is_open = true;
      opened.notify_all();
    }
  };

  struct baton {
    fibers::buffered_channel<int> channel{2};
    void give() { channel.push(1); }
    void take() {
      int got;
      channel.pop(got);
    }
    void take_until_ns(std::int64_t ns) {
      int got;
      if (channel.pop_wait_until(got, point(ns)) != fibers::channel_op_status::success) std::abort();
    }
  };

  // Stacks come from a pool, its fastest way, because that is what bide's come from.
  template <class F>
  static fiber spawn(F&& f) {
    static fibers::pooled_fixedsize_stack pool(64 * 1024);
    return fiber(std::allocator_arg, pool, std::forward<F>(f));
  }
  template <class F>
  static void spawn_detached(std::size_t stack_size, F&& f) {
    fiber(std::allocator_arg, fibers::fixedsize_stack(stack_size), std::forward<F>(f)).detach();
  }
  static void join(fiber& f) { f.join(); }
  static void yield() { boost::this_fiber::yield(); }
  static void sleep_until_ns(std::int64_t ns) { boost::this_fiber::sleep_until(point(ns)); }
};

struct guarded_runtime : runtime {
  template <class F>
  static void spawn_detached(std::size_t stack_size, F&& f) {
    fiber(std::allocator_arg, fibers::protected_fixedsize_stack(stack_size), std::forward<F>(f)).detach();
  }
};

struct default_runtime : runtime {
  template <class F>
  static fiber spawn(F&& f) {
    return fiber(std::forward<F>(f));
  }
};

void yield_2() { bench::measure_yield<runtime>(subject, "yield-2", 2, 1'000'000); }
void yield_1000() { bench::measure_yield<runtime>(subject, "yield-1000", 1'000, 1'000'000); }
void spawn_join() { bench::measure_spawn_join<runtime>(subject, 300'000); }
void spawn_join_default() { bench::measure_spawn_join<default_runtime>("boost-default", 300'000); }
void parked() { bench::measure_parked<runtime>(subject, "parked", 100'000, 64 * 1024); }
void guarded() { bench::measure_parked<guarded_runtime>(subject, "guarded", 100'000, 64 * 1024); }

void timeout() {
  bench::measure_timeout<runtime>(subject);
  _exit(0);  // 100,000 sleeping fibers cannot be cancelled here
}

void lock() {
  bench::have_second_thread();
  bench::measure_lock<fibers::mutex>(subject, "lock");
}

constexpr bench::probe probes[] = {
    {"yield-2", yield_2},
    {"yield-1000", yield_1000},
    {"spawn-join", spawn_join},
    {"spawn-join-default", spawn_join_default},
    {"parked", parked},
    {"guarded", guarded},
    {"lock", lock},
    {"timeout", timeout},
};

}  // namespace

int main(int count, char** names) { return bench::run_named(count, names, probes); }
