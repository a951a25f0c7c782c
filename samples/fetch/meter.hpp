// What a run costs its process, as the kernel counts it.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

/// Measures from its construction on: time and CPU by clock, memory by the kernel's high-water mark, threads by
/// sample.
///
/// Threads:  the one that made it, or the fiber.
class meter {
 public:
  meter();

  /// Counts the kernel threads that live now. Threads that come and go between two samples are not seen.
  void sample();

  double seconds() const;
  /// User and system time of all threads.
  double cpu_seconds() const;
  /// Since the program started; resident pages only, so without the kernel's own stack of 16 KiB for each thread.
  std::size_t peak_memory_kib() const;
  std::size_t threads_now() const { return samples_.empty() ? 0 : samples_.back(); }
  std::size_t threads_peak() const;
  std::size_t threads_median() const;

 private:
  std::chrono::steady_clock::time_point start_;
  double cpu_at_start_;
  std::vector<std::size_t> samples_;
};
