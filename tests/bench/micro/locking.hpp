/// Row 6, the same code for each mutex: lock and unlock with nobody else there.
#pragma once

#include "probe.hpp"

namespace bench {

template <class Mutex>
[[gnu::noinline]] void lock_and_unlock(Mutex& mutex, long times) {
  for (long i = 0; i < times; ++i) {
    mutex.lock();
    barrier();
    mutex.unlock();
    barrier();
  }
}

/// Reports the CPU time of one lock and unlock.
template <class Mutex>
void measure_lock(const char* subject, const char* figure) {
  static Mutex mutex;
  constexpr long times = 8'000'000;
  lock_and_unlock(mutex, times / 10);
  const double start = cpu_ns();
  lock_and_unlock(mutex, times);
  report(subject, figure, (cpu_ns() - start) / times);
}

}  // namespace bench
