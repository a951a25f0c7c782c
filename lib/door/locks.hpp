// What libc's locks and condition variables share on a fiber.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

#include "lib/door/door.hpp"

namespace bide::door {

// Waits so long, whatever would end a wait from outside.
void nap(const timespec& length) noexcept;

// Between one look at a lock and the next: short naps first.
class naps {
 public:
  void take() noexcept;

 private:
  long length_ = 20'000;  // ns
};

// Holds a lock for a few instructions, without a call but to give the processor to its holder.
class list_guard {
 public:
  explicit list_guard(std::atomic<std::uint32_t>& word) noexcept : word_(word) {
    // exchange acquires what the destructor's store released.
    while (word_.exchange(1, std::memory_order_acquire) != 0) raw(SYS_sched_yield);
  }
  ~list_guard() { word_.store(0, std::memory_order_release); }
  list_guard(const list_guard&) = delete;

 private:
  std::atomic<std::uint32_t>& word_;
};

}  // namespace bide::door
