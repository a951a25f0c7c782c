// A word that one thread writes and any may read, without order: what a plain variable costs.
#pragma once

#include <atomic>

namespace bide::base {

template <class T>
class relaxed {
 public:
  relaxed() noexcept = default;
  constexpr relaxed(T value) noexcept : value_(value) {}
  relaxed(const relaxed&) = delete;
  relaxed& operator=(const relaxed&) = delete;
  void operator=(T value) noexcept { value_.store(value, std::memory_order_relaxed); }
  T get() const noexcept { return value_.load(std::memory_order_relaxed); }
  operator T() const noexcept { return get(); }

 private:
  std::atomic<T> value_{};
};

}  // namespace bide::base
