#include "lib/base/clock.hpp"

#include <sys/syscall.h>

#include "asm/gate.h"

constinit std::atomic<std::int64_t> bide_clock_hand{0};

namespace bide::base {
namespace {

// CLOCK_REALTIME less CLOCK_MONOTONIC, as shown: at the hand's zero it is the first of January 2030, later than any file's.
constexpr std::int64_t epoch = 1'893'456'000 * second;

}  // namespace

// By the gate: the program's clock_gettime may be the door's, which shows the hand.
std::int64_t kernel_now() noexcept {
  if (!shown_time()) return now();
  timespec t;
  bide_gate(SYS_clock_gettime, CLOCK_MONOTONIC, reinterpret_cast<long>(&t), 0, 0, 0, 0);
  return t.tv_sec * second + t.tv_nsec;
}

bool is_shown(clockid_t clock) noexcept {
  if (!shown_time()) return false;
  switch (clock) {
    case CLOCK_REALTIME: case CLOCK_REALTIME_COARSE: case CLOCK_TAI: case CLOCK_MONOTONIC: case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE: case CLOCK_BOOTTIME: return true;
    default: return false;
  }
}

std::int64_t time_of(clockid_t clock) noexcept {
  if (is_shown(clock)) {
    const bool real = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
    return shown_time() + (real ? epoch : 0);
  }
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * second + t.tv_nsec;
}

}  // namespace bide::base

// Each look takes a little, so that who looks until a time has come gets there.
bool bide_look(clockid_t clock, std::int64_t* shown) noexcept {
  constexpr std::int64_t look_time = 100;
  if (!bide::base::is_shown(clock)) return false;
  bide_clock_hand.fetch_add(look_time, std::memory_order_relaxed);
  *shown = bide::base::time_of(clock);
  return true;
}
