// A word that one thread writes and reads at a plain variable's cost, and that shows others what was written before it.
#pragma once

#include <atomic>

namespace bide::base {

template <class T>
class published {
 public:
  constexpr published(T value) noexcept : value_(value) {}
  published(const published&) = delete;
  published& operator=(const published&) = delete;
  void operator=(T value) noexcept { value_.store(value, std::memory_order_release); }
  T get() const noexcept { return value_.load(std::memory_order_relaxed); }
  operator T() const noexcept { return get(); }
  // Other threads: with all that its writer had done. Pairs with the assignment.
  T seen() const noexcept { return value_.load(std::memory_order_acquire); }

 private:
  std::atomic<T> value_;
};

}  // namespace bide::base
