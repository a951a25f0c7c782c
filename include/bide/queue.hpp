/// A queue of work whose end one can wait for.
#pragma once

#include <bide/channel.hpp>
#include <bide/wait_group.hpp>

#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>

namespace bide {

namespace detail {
[[noreturn]] BIDE_API void throw_task_done();
}

/// asyncio.Queue: put, get, task_done and join, on a channel.
///
/// Parks:    put() while it is full, get() while it is empty, join() while something is unfinished; on a plain thread,
///           blocks the thread.
/// Threads:  any.
template <class T>
class queue {
 public:
  /// As asyncio's maxsize; without one it always has room.
  explicit queue(std::size_t most = unbounded) : items_(most ? most : unbounded) {}

  /// Errors:   std::system_error EPIPE when it was shut down; throws `cancelled` or `timed_out`.
  void put(T value) {
    begin();
    try {
      items_.send(std::move(value));
    } catch (...) {
      task_done();
      throw;
    }
  }
  /// Puts it in if there is room. Returns whether there was. Never parks.
  bool try_put(T value) {
    begin();
    const bool there = items_.try_send(value) == wait_result::ready;
    if (!there) task_done();
    return there;
  }

  /// Errors:   std::system_error EPIPE when it was shut down and is empty; throws `cancelled` or `timed_out`.
  T get() {
    std::optional<T> value = items_.receive();
    if (!value) detail::throw_channel_closed();
    return std::move(*value);
  }
  /// Returns what is there without a wait, or nothing. Never parks.
  std::optional<T> try_get() { return items_.try_receive(); }

  /// Says that one of the values got is dealt with.
  ///
  /// Errors:   std::system_error EINVAL when called more often than values were put (ValueError in asyncio).
  void task_done() {
    std::ptrdiff_t left = unfinished_.load(std::memory_order_relaxed);
    do {
      if (left == 0) detail::throw_task_done();
    } while (!unfinished_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed));
    group_.done();
  }
  /// Waits until all that was put is dealt with.
  ///
  /// Errors:   throws `cancelled` or `timed_out`.
  void join() { group_.wait(); }

  /// Ends it: put() fails from now on, get() once it is empty. asyncio.Queue.shutdown().
  ///
  /// Errors:   std::system_error EBADF if it was shut down already.
  void shutdown() { items_.close(); }

  std::size_t size() const noexcept { return items_.size(); }
  bool empty() const noexcept { return size() == 0; }

 private:
  void begin() noexcept {
    group_.add();
    unfinished_.fetch_add(1, std::memory_order_relaxed);
  }

  channel<T> items_;
  wait_group group_;
  std::atomic<std::ptrdiff_t> unfinished_{0};
};

}  // namespace bide
