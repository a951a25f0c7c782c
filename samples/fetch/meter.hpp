// What a run costs its process, as the kernel counts it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

/// Measures from its construction on: time and CPU by clock, memory by the kernel's high-water mark, threads by
/// sample.
///
/// The samples are taken by a kernel thread of its own, which it doesn't count: a fiber would miss the threads that
/// come and go while others run. Threads:  any, one at a time.
class meter {
 public:
  meter();

  /// Ends the sampling. The figures of threads but threads_now() are to be read after that.
  void stop();

  double seconds() const;
  /// User and system time of all threads.
  double cpu_seconds() const;
  /// Since the program started; resident pages only, so without the kernel's own stack of 16 KiB for each thread.
  std::size_t peak_memory_kib() const;
  std::size_t threads_now() const { return now_; }
  std::size_t threads_peak() const;
  std::size_t threads_median() const;

 private:
  std::chrono::steady_clock::time_point start_;
  double cpu_at_start_;
  std::atomic<std::size_t> now_{0};   // any thread
  std::vector<std::size_t> samples_;  // the sampler's until it has ended
  std::jthread sampler_;
};
