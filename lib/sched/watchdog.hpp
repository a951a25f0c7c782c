// The debug mode: names fibers that hold their worker for long. A thread asks each worker that is busy for a sign, which
// it gives between fibers; while it owes one, its running fiber has not let go.
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/fiber/worker_core.hpp"

namespace bide::core {

struct runtime;

class watchdog {
 public:
  watchdog() noexcept = default;
  watchdog(const watchdog&) = delete;

  // Watches a runtime that is open, if it wants that. With no thread to be had, it says so and does not.
  void open(runtime&) noexcept;
  // Waits for its thread. Signs that workers owe are delivered at their end, while this lives.
  void close() noexcept;
  unsigned threads() const noexcept { return thread_.load(std::memory_order_relaxed); }
  // The child of a fork has no such thread.
  void forget() noexcept;

 private:
  struct seat {
    message ask;
    std::atomic<bool> owed{false};
    std::atomic<std::uint32_t> reads{0};  // a spin lock: a fiber's record is read, and stays
    std::int64_t since = 0;   // as long as `held` has been the running one
    fiber* held = nullptr;
    bool said = false;
    std::uint64_t id = 0;     // of the one that was named
  };
  void look(worker_core&, seat&, std::int64_t now) noexcept;
  void report(worker_core&, seat&, std::int64_t length) noexcept;
  void watch() noexcept;

  runtime* all_ = nullptr;
  std::int64_t slow_ = 0;
  std::atomic<std::uint32_t> thread_{0};  // 1 while there is one: a futex
  std::atomic<std::uint32_t> over_{0};    // a futex
  seat seats_[most_workers];
};

}  // namespace bide::core
