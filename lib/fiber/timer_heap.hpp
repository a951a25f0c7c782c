// The timers of one worker: a 4-ary heap, earliest first. Worker only.
//
// Our own rather than ev_timer: libev's epoll back end rounds each sleep up to whole milliseconds, and times are doubles.
// A read timeout is armed with nearly the latest deadline and disarmed soon after: it goes in and out at the bottom.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/base/clock.hpp"

namespace bide::core {

struct waiter;

struct timer {
  static constexpr std::uint32_t unarmed = UINT32_MAX;
  waiter* who = nullptr;
  std::uint32_t place = unarmed;  // index in the heap

  bool armed() const noexcept { return place != unarmed; }
};

class timer_heap {
 public:
  // A fiber has one timer at most, so this also bounds the fibers of a worker.
  static constexpr std::uint32_t most = 1 << 22;

  timer_heap() noexcept = default;
  timer_heap(const timer_heap&) = delete;

  // Reserves address space for `most` of them, so that arming can't fail. Returns false when there is none.
  bool open() noexcept;
  void close() noexcept;

  void arm(timer& t, std::int64_t at) noexcept { rise(count_++, {at, &t}); }
  void disarm(timer& t) noexcept {
    const std::uint32_t hole = t.place;
    t.place = timer::unarmed;
    const entry last = entries_[--count_];
    if (hole == count_) return;
    if (hole && last.at < entries_[parent(hole)].at)
      rise(hole, last);
    else
      sink(hole, last);
  }

  bool empty() const noexcept { return count_ == 0; }
  std::size_t size() const noexcept { return count_; }
  // When the earliest comes; never if there is none.
  std::int64_t next() const noexcept { return count_ ? entries_[0].at : base::never; }

  // Takes out the earliest if it has come by `now`; else null.
  timer* pop(std::int64_t now) noexcept {
    if (!count_ || entries_[0].at > now) return nullptr;
    timer* t = entries_[0].which;
    disarm(*t);
    return t;
  }

  // Forgets all of them without a wake: the child of a fork.
  void clear() noexcept { count_ = 0; }

 private:
  struct entry {
    std::int64_t at;
    timer* which;
  };

  static std::uint32_t parent(std::uint32_t i) noexcept { return (i - 1) / 4; }
  void put(std::uint32_t i, entry e) noexcept {
    entries_[i] = e;
    e.which->place = i;
  }
  void rise(std::uint32_t i, entry e) noexcept {
    while (i && e.at < entries_[parent(i)].at) {
      put(i, entries_[parent(i)]);
      i = parent(i);
    }
    put(i, e);
  }
  void sink(std::uint32_t i, entry e) noexcept;

  entry* entries_ = nullptr;
  std::uint32_t count_ = 0;
};

}  // namespace bide::core
