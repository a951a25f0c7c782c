// Runtimes for tests: that nothing is left of them, and steps in place of sleeps.
#pragma once

#include <doctest/doctest.h>

#include <bide/bide.hpp>

#include <atomic>
#include <cstddef>
#include <thread>
#include <utility>

namespace unit {

// What of a runtime could be left behind. Its end checks that nothing is.
class leftovers {
 public:
  leftovers();
  ~leftovers();
  leftovers(const leftovers&) = delete;
  leftovers& operator=(const leftovers&) = delete;

 private:
  std::size_t stacks_;
  int descriptors_;
  unsigned threads_;
};

std::size_t stacks_in_use();
int open_descriptors();

// Runs `f` in a runtime of which nothing may be left.
template <class F>
auto in_runtime(F f, bide::options how = {}) {
  const leftovers none;
  return bide::run(std::move(f), how);
}

// The same with one worker, with two and with four.
template <class F>
void on_workers(F f) {
  for (const unsigned workers : {1u, 2u, 4u}) {
    CAPTURE(workers);
    in_runtime(f, {.workers = workers});
  }
}

// Fibers of the caller's runtime, without the caller.
struct census {
  unsigned parked, others;
};
census count_fibers();

// Lets the other fibers run until so many of them are parked.
void until_parked(unsigned count);
// Until none but parked ones are left.
void until_all_parked();
// Until the runtime's first fiber is parked in a call, where a signal handler finds it.
void until_main_waits();
// Every fiber that is parked in a call is woken for nothing.
void wake_for_nothing();
// Until a condition holds that other fibers or threads bring about.
template <class Condition>
void until(Condition holds) {
  while (!holds()) bide::yield();
}

// A plain thread that a fiber can wait for without holding up its worker.
class plain_thread {
 public:
  template <class F>
  explicit plain_thread(F f) : thread_([this, f]() mutable {
    f();
    ended_ = true;
  }) {}
  ~plain_thread() { join(); }
  plain_thread(const plain_thread&) = delete;
  plain_thread& operator=(const plain_thread&) = delete;
  void join() {
    until([this] { return ended_.load(); });
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// The number of the worker that runs the calling fiber.
unsigned here();

}  // namespace unit
