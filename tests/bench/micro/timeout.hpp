/// Row 14, the same code for each runtime: what a deadline adds to a wait while many other timers are live.
///
/// A Runtime is a type with static spawn_detached(stack_size, f), yield(), sleep_until_ns(ns), and a `baton` that two
/// fibers pass: give(), take() and take_until_ns(ns).
#pragma once

#include "probe.hpp"

#include <array>
#include <random>

namespace bench {

constexpr long live_timers = 100'000;

/// Deadlines that do not come while a probe runs, on CLOCK_MONOTONIC.
class far_deadlines {
 public:
  far_deadlines() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    base_ = (t.tv_sec + 1'000) * std::int64_t{1'000'000'000};
  }
  /// Returns one out of the range of the live timers.
  std::int64_t among() { return base_ + spread_(random_); }
  /// Returns one before all of the live timers, and before the one it returned last.
  std::int64_t earliest() { return base_ - ++early_ * 1'000; }

 private:
  std::int64_t base_;
  std::int64_t early_ = 0;
  std::minstd_rand random_{14};
  std::uniform_int_distribution<std::int64_t> spread_{0, std::int64_t{1'000} * 1'000'000'000};
};

/// How often the pieces of a comparison alternate, and how long each is.
constexpr int chunks = 25;
constexpr int chunk_waits = 4'096;

/// Reports how much more CPU a wait takes with a deadline than without: arm and disarm among the live timers.
template <class Runtime>
void measure_timeout(const char* subject) {
  static far_deadlines deadlines;
  static long asleep = 0;
  for (long i = 0; i < live_timers; ++i) {
    Runtime::spawn_detached(64 * 1024, [] {
      const std::int64_t until = deadlines.among();
      ++asleep;
      Runtime::sleep_until_ns(until);
    });
    if (i % 1024 == 1023) Runtime::yield();
  }
  while (asleep < live_timers) Runtime::yield();

  static typename Runtime::baton ours, theirs;
  static bool over = false;
  Runtime::spawn_detached(64 * 1024, [] {
    while (!over) {
      theirs.take();
      ours.give();
    }
  });

  std::array<std::int64_t, chunk_waits> typical, early;
  for (auto& ns : typical) ns = deadlines.among();
  const auto chunk = [](auto&& take) {
    const double start = cpu_ns();
    for (int i = 0; i < chunk_waits; ++i) {
      theirs.give();
      take(i);
    }
    return (cpu_ns() - start) / chunk_waits;
  };
  std::vector<double> added, added_early, plain;
  for (int i = 0; i < chunks; ++i) {
    for (auto& ns : early) ns = deadlines.earliest();
    const double without = chunk([](int) { ours.take(); });
    const double with = chunk([&](int n) { ours.take_until_ns(typical[static_cast<std::size_t>(n)]); });
    const double first = chunk([&](int n) { ours.take_until_ns(early[static_cast<std::size_t>(n)]); });
    plain.push_back(without);
    added.push_back(with - without);
    added_early.push_back(first - without);
  }
  over = true;
  theirs.give();
  ours.take();
  report(subject, "timeout", median(added));
  report(subject, "timeout-earliest", median(added_early));
  report(subject, "handoff", median(plain));
}

}  // namespace bench
