// The way into a runtime from outside, as long as it is open: who comes in keeps it open until he leaves.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "lib/sched/runtime.hpp"

namespace bide::detail {

class entrance {
 public:
  explicit entrance(core::runtime& rt) noexcept : inside_(rt) {}
  entrance(const entrance&) = delete;

  // Returns the runtime, until leave(); null when it has ended or is about to.
  core::runtime* enter() noexcept {
    if (!(state_.fetch_add(1, std::memory_order_acq_rel) & shut_bit)) return &inside_;
    leave();
    return nullptr;
  }
  void leave() noexcept { state_.fetch_sub(1, std::memory_order_release); }
  bool open() const noexcept { return !(state_.load(std::memory_order_acquire) & shut_bit); }

  // No one comes in from now on; waits for those who are in, which is for moments. Any context.
  void shut() noexcept;

 private:
  static constexpr std::uint32_t shut_bit = std::uint32_t{1} << 31;
  core::runtime& inside_;  // means something while it is open
  std::atomic<std::uint32_t> state_{0};
};

// The entrance of the runtime that the calling fiber is in, or null.
std::shared_ptr<entrance> entrance_here() noexcept;

}  // namespace bide::detail
