// Rows 1 to 6 and 14 on bide, one worker.

#include "locking.hpp"
#include "parked.hpp"
#include "switching.hpp"
#include "timeout.hpp"

#include <bide/bide.hpp>

#include <utility>

namespace {

constexpr const char* subject = "bide";

struct runtime {
  using fiber = bide::task<void>;

  struct gate {
    bide::semaphore permits;
    void wait() { permits.acquire(); }
    void open(long n) { permits.release(n); }
  };

  struct baton {
    bide::semaphore permits;
    void give() { permits.release(); }
    void take() { permits.acquire(); }
    void take_until_ns(std::int64_t ns) {
      if (permits.acquire_until(bide::deadline::from_ns(ns)) != bide::wait_result::ready) std::abort();
    }
  };

  template <class F>
  static fiber spawn(F&& f) {
    return bide::spawn(std::forward<F>(f));
  }
  template <class F>
  static void spawn_detached(std::size_t stack_size, F&& f) {
    (void)bide::spawn(bide::spawn_options{.stack_size = stack_size}, std::forward<F>(f));
  }
  static void join(fiber& f) { f.join(); }
  static void yield() { bide::yield(); }
  static void sleep_until_ns(std::int64_t ns) { bide::sleep_until(bide::deadline::from_ns(ns)); }
};

void yield_2() { bench::measure_yield<runtime>(subject, "yield-2", 2, 8'000'000); }
void yield_1000() { bench::measure_yield<runtime>(subject, "yield-1000", 1'000, 8'000'000); }
void spawn_join() { bench::measure_spawn_join<runtime>(subject, 2'000'000); }
void parked() { bench::measure_parked<runtime>(subject, "parked", 100'000, 64 * 1024); }
void million_64() { bench::measure_parked<runtime>(subject, "million-64", 1'000'000, 64 * 1024); }
void million_256() { bench::measure_parked<runtime>(subject, "million-256", 1'000'000, 256 * 1024); }
void timeout() { bench::measure_timeout<runtime>(subject); }

void spawn_join_threaded() {
  bench::have_second_thread();
  bench::measure_spawn_join<runtime>("bide-threaded", 2'000'000);
}

void lock() {
  bench::measure_lock<bide::mutex>(subject, "lock-alone");
  bench::have_second_thread();
  bench::measure_lock<bide::mutex>(subject, "lock");
  bench::measure_lock<bide::local_mutex>(subject, "lock-local");
}

constexpr bench::probe probes[] = {
    {"spawn-join-threaded", spawn_join_threaded},

    {"yield-2", yield_2},
    {"yield-1000", yield_1000},
    {"spawn-join", spawn_join},
    {"parked", parked},
    {"million-64", million_64},
    {"million-256", million_256},
    {"lock", lock},
    {"timeout", timeout},
};

}  // namespace

int main(int count, char** names) {
  return bide::run([&] { return bench::run_named(count, names, probes); });
}
