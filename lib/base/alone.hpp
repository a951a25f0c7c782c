// Is this the only thread of the process? Then nobody can see an atomic done in two steps.
#pragma once

#include <sys/single_threaded.h>

#include <atomic>

namespace bide::base {

#ifdef BIDE_PRELOAD
// False from the start of the second worker on. The program's threads are fibers, so what libc believes means nothing;
// a kernel thread without a worker touches nothing that asks this.
extern bool one_worker;
inline bool alone() noexcept { return one_worker; }
#else
// glibc 2.32: true only while there is no other thread; it turns false on the thread that is about to start one.
inline bool alone() noexcept { return __libc_single_threaded; }
#endif

// compare_exchange_strong(expected, desired, acq_rel), without its cost while alone.
template <class T>
bool replace(std::atomic<T>& word, T expected, T desired) noexcept {
  if (alone()) {
    if (word.load(std::memory_order_relaxed) != expected) return false;
    word.store(desired, std::memory_order_relaxed);
    return true;
  }
  return word.compare_exchange_strong(expected, desired, std::memory_order_acq_rel);
}

}  // namespace bide::base
