// A lock for a few instructions. It may be taken inside the program's malloc or stdio, so it is not the program's.
// Invariant: no kernel call but futex wakes, no switch and no foreign code while one is held.
#pragma once

#include <atomic>
#include <cstdint>

#include <sys/syscall.h>

#include "asm/gate.h"
#include "lib/base/alone.hpp"
#include "lib/base/race.hpp"

namespace bide::base {

// One look later. The holder may have lost its core: it gets ours rather than that the slice is burnt.
inline void spin(int& tries) noexcept {
  __builtin_ia32_pause();
  if (++tries > 300) bide_gate(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

inline void spin_lock(std::atomic<std::uint32_t>& word) noexcept {
  if (alone() || !kept(protection::locks)) return word.store(1, std::memory_order_relaxed);
  // exchange acquires what spin_unlock's store released.
  for (int tries = 0; word.exchange(1, std::memory_order_acquire) != 0;) {
    while (word.load(std::memory_order_relaxed) != 0) spin(tries);
  }
  race_point();
}
inline void spin_unlock(std::atomic<std::uint32_t>& word) noexcept { word.store(0, std::memory_order_release); }

// Waits until the holder of this moment has let go.
inline void spin_pass(const std::atomic<std::uint32_t>& word) noexcept {
  for (int tries = 0; word.load(std::memory_order_acquire) != 0;) spin(tries);
}

class spin_guard {
 public:
  explicit spin_guard(std::atomic<std::uint32_t>& word) noexcept : word_(word) { spin_lock(word_); }
  ~spin_guard() { spin_unlock(word_); }
  spin_guard(const spin_guard&) = delete;

 private:
  std::atomic<std::uint32_t>& word_;
};

}  // namespace bide::base
