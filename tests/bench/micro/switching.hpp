/// Rows 1 to 3, the same code for each runtime: yields round a ring of fibers, spawn and join.
///
/// A Runtime is a type with a `fiber` handle and static spawn(f), join(fiber&) and yield(), used inside its run().
#pragma once

#include "probe.hpp"

#include <vector>

namespace bench {

/// Reports the CPU time of one yield among `fibers` fibers that do nothing else.
template <class Runtime>
void measure_yield(const char* subject, const char* figure, long fibers, long yields) {
  const long each = yields / fibers;
  std::vector<typename Runtime::fiber> ring;
  ring.reserve(static_cast<std::size_t>(fibers));
  for (long i = 0; i < fibers; ++i) {
    ring.push_back(Runtime::spawn([each] {
      for (long left = each; left > 0; --left) Runtime::yield();
    }));
  }
  // Starting them, with its first touch of each stack, is not what this row is about.
  for (int lap = 0; lap < 3; ++lap) Runtime::yield();
  const double start = cpu_ns();
  for (auto& fiber : ring) Runtime::join(fiber);
  report(subject, figure, (cpu_ns() - start) / static_cast<double>((each - 3) * fibers));
}

/// Reports the CPU time of spawning a fiber for a small lambda, joining it and dropping the handle.
template <class Runtime>
void measure_spawn_join(const char* subject, long times) {
  long ran = 0;
  const auto once = [&ran] {
    auto fiber = Runtime::spawn([&ran] { ++ran; });
    Runtime::join(fiber);
  };
  for (long i = 0; i < times / 10; ++i) once();
  ran = 0;
  const double start = cpu_ns();
  for (long i = 0; i < times; ++i) once();
  const double used = cpu_ns() - start;
  if (ran != times) std::abort();
  report(subject, "spawn-join", used / static_cast<double>(times));
}

}  // namespace bench
