// The race points of the test build: delays, and the protection that BIDE_WITHOUT names is missing.
#include "lib/base/race.hpp"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "asm/gate.h"
#include "lib/base/clock.hpp"

namespace bide::base {
namespace {

constexpr const char* names[] = {"claim", "second_look", "check_enlisted", "end_last", "inside", "locks"};

int find_missing() noexcept {
  const char* given = getenv("BIDE_WITHOUT");
  for (int i = 0; given && i < static_cast<int>(sizeof names / sizeof *names); ++i) {
    if (!strcmp(given, names[i])) return i;
  }
  return -1;
}

int missing = -1;
[[gnu::constructor(101)]] void find() { missing = find_missing(); }  // before entry/preload.cpp starts the runtime

}  // namespace

bool kept(protection p) noexcept { return missing != static_cast<int>(p); }

void race_point() noexcept {
  // The clock's low bits are as good as any: splitmix64's last steps.
  std::uint64_t chance = ticks();
  chance = (chance ^ chance >> 30) * 0xbf58476d1ce4e5b9;
  chance = (chance ^ chance >> 27) * 0x94d049bb133111eb;
  chance ^= chance >> 31;
  if (chance % 512 == 0) {
    const timespec nap{0, 6'000'000};  // longer than a slice of 1 ms and two looks of the monitor
    bide_gate(SYS_nanosleep, reinterpret_cast<long>(&nap), 0, 0, 0, 0, 0);
  } else if (chance % 16 == 0) {
    const std::uint64_t until = ticks() + (chance >> 32) % 8192;
    while (ticks() < until) __builtin_ia32_pause();
  }
}

}  // namespace bide::base
