/// Doing something once, whoever comes first.
#pragma once

#include <bide/mutex.hpp>

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

namespace bide {

/// What std::once_flag is for threads.
class once_flag {
 public:
  constexpr once_flag() noexcept = default;
  once_flag(const once_flag&) = delete;
  once_flag& operator=(const once_flag&) = delete;

 private:
  template <class F, class... Args>
  friend void call_once(once_flag&, F&&, Args&&...);
  std::atomic<bool> done_{false};
  mutex running_;
};

/// Calls `f(args...)` unless a call with this flag has returned; those who come meanwhile wait for its end. One that throws
/// does not count: the next tries again.
///
/// Parks:    while another call runs; on a plain thread, blocks the thread. As mutex::lock().
/// Threads:  any.
/// Errors:   what `f` throws; as mutex::lock().
template <class F, class... Args>
void call_once(once_flag& flag, F&& f, Args&&... args) {
  if (flag.done_.load(std::memory_order_acquire)) return;
  const std::lock_guard guard(flag.running_);
  if (flag.done_.load(std::memory_order_relaxed)) return;
  std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
  flag.done_.store(true, std::memory_order_release);
}

}  // namespace bide
