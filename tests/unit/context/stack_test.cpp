#include "lib/context/stack.hpp"

#include <doctest/doctest.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "lib/sys/raw.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace bide::context;
using unit::scene;

namespace {

struct taken : stack {
  explicit taken(std::size_t size) { REQUIRE(take_stack(size, *this) == 0); }
  ~taken() { give_stack(*this); }
  taken(const taken&) = delete;
};

// The permissions that /proc/self/maps gives for an address: "---p".
std::string permissions(const void* address) {
  std::string found;
  FILE* maps = fopen("/proc/self/maps", "r");
  char line[512], what[8];
  for (unsigned long low, high; fgets(line, sizeof line, maps);) {
    if (sscanf(line, "%lx-%lx %7s", &low, &high, what) != 3) continue;
    const auto a = reinterpret_cast<unsigned long>(address);
    if (a >= low && a < high) found = what;
  }
  fclose(maps);
  return found;
}

// Touches a byte of a new stack.
void touch(std::size_t at) {
  stack s;
  EXPECT(take_stack(64 * 1024, s) == 0);
  fprintf(stderr, "guard is %s\n", permissions(s.base).c_str());
  const_cast<volatile char*>(s.base)[at] = 1;
}

const scene lowest_of_guard{"lowest byte of a guard", [] { touch(0); }};
const scene highest_of_guard{"highest byte of a guard", [] { touch(guard_size - 1); }};
const scene above_guard{"byte above a guard", [] { touch(guard_size); }};

const scene guards_run_out{"guards run out", [] {
  for (int i = 0; i < 16 * 1024 + 500; ++i) {
    stack s;
    EXPECT(take_stack(smallest_stack, s) == 0);
    const bool guarded = permissions(s.base) == "---p";
    if (i == 0) EXPECT(guarded);
    if (i == 0 || i == 16 * 1024 + 499) s.base[guard_size] = 1;
    if (i > 16 * 1024) {
      EXPECT(!guarded);
      break;
    }
    // Asking for each would take a while.
    while (i > 0 && i < 16 * 1024 - 1) {
      EXPECT(take_stack(smallest_stack, s) == 0);
      ++i;
    }
  }
}};

// Leaves so much address space.
void limit_space(std::size_t bytes) {
  unsigned long pages = 0;
  FILE* statm = fopen("/proc/self/statm", "r");
  EXPECT(fscanf(statm, "%lu", &pages) == 1);
  fclose(statm);
  const rlimit limit{pages * page + bytes, pages * page + bytes};
  EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
}

const scene no_address_space{"no address space", [] {
  limit_space(std::size_t{64} << 20);
  stack s;
  EXPECT(take_stack(largest_stack, s) == -ENOMEM);
  static stack all[1024];
  unsigned count = 0;
  while (count < 1024 && take_stack(256 * 1024, all[count]) == 0) {
    all[count].base[guard_size] = 1;
    ++count;
  }
  // Down to slabs of a single stack: most of the space is used, and it is ENOMEM at the end.
  EXPECT((count > 200 && count < 256));
  EXPECT(take_stack(256 * 1024, s) == -ENOMEM);
  for (unsigned i = 0; i < count; ++i) give_stack(all[i]);
  EXPECT(take_stack(256 * 1024, s) == 0);
}};

}  // namespace

TEST_SUITE("context/stack") {
  TEST_CASE("sizes are rounded up to a power of two within bounds") {
    CHECK(round_stack_size(0) == 0);
    CHECK(round_stack_size(1024) == 0);
    CHECK(round_stack_size(smallest_stack - 1) == 0);
    CHECK(round_stack_size(smallest_stack) == smallest_stack);
    CHECK(round_stack_size(smallest_stack + 1) == 2 * smallest_stack);
    CHECK(round_stack_size(200'000) == 256 * 1024);
    CHECK(round_stack_size(largest_stack) == largest_stack);
    CHECK(round_stack_size(largest_stack + 1) == 0);
    CHECK(round_stack_size(~std::size_t{0}) == 0);
  }

  TEST_CASE("a stack is aligned to its size, zero, and writable from the guard to the top") {
    for (const std::size_t size : {smallest_stack, std::size_t{64} * 1024, std::size_t{1} << 20}) {
      CAPTURE(size);
      const taken s(size);
      CHECK(s.size() == size);
      CHECK(reinterpret_cast<std::uintptr_t>(s.base) % size == 0);
      CHECK(s.top() <= s.base + size);
      CHECK(s.top() > s.base + size - 1024);
      for (char* at = s.base + guard_size; at < s.base + size; at += 512) {
        REQUIRE(*at == 0);
        *at = 1;
      }
    }
  }

  TEST_CASE("neighbours' tops are of 16 colours, a cache line apart") {
    std::vector<std::unique_ptr<taken>> all;
    std::set<std::size_t> colours;
    for (int i = 0; i < 64; ++i) {
      all.push_back(std::make_unique<taken>(128 * 1024));
      colours.insert(all.back()->colour);
      CHECK(all.back()->colour % 64 == 0);
    }
    CHECK(colours.size() == 16);
    CHECK(*colours.rbegin() == 15 * 64);
  }

  TEST_CASE("a stack is found from any of its addresses, its guard's too") {
    const taken s(64 * 1024);
    for (char* at : {s.base, s.base + 1, s.base + guard_size, s.top() - 1, s.base + s.size() - 1}) {
      stack found;
      REQUIRE(find_stack(at, found));
      CHECK(found.base == s.base);
      CHECK(found.shift == s.shift);
      CHECK(found.colour == s.colour);
    }
    int elsewhere;
    stack found;
    CHECK_FALSE(find_stack(&elsewhere, found));
    CHECK_FALSE(find_stack(nullptr, found));
    CHECK((!find_stack(s.base + s.size(), found) || found.base != s.base));
  }

  TEST_CASE("the guard traps its every byte, installed or protected, and nothing above it does") {
    for (const char* how : {"BIDE_DISABLE=", "BIDE_DISABLE=guard_install"}) {
      CAPTURE(how);
      const auto lowest = lowest_of_guard.play({how}), highest = highest_of_guard.play({how});
      if (unit::asan || unit::tsan) {
        // They report a fault and exit.
        CHECK_FALSE(lowest.exited(0));
        CHECK_FALSE(highest.exited(0));
      } else {
        CHECK(lowest.died_of(SIGSEGV));
        CHECK(highest.died_of(SIGSEGV));
      }
      CHECK(above_guard.play({how}).exited(0));
    }
    // The fallback is what it says.
    CHECK(above_guard.play({"BIDE_DISABLE=guard_install"}).says("guard is ---p"));
  }

  TEST_CASE("where guards split maps, the limit is told of once and stacks go on without") {
    SKIP_IF(unit::sanitized, "the sanitizer has maps of its own");
    const auto end = guards_run_out.play({"BIDE_DISABLE=guard_install"});
    INFO(end.text);
    CHECK(end.exited(0));
    CHECK(end.times("have no guard page") == 1);
    CHECK(end.says("beyond the first 16384"));
  }

  TEST_CASE("the stack given back last is taken first, and is zero again") {
    stack first, second;
    REQUIRE(take_stack(32 * 1024, first) == 0);
    std::memset(first.base + guard_size, 0x5a, first.size() - guard_size);
    const stack_counts before = count_stacks();
    give_stack(first);
    CHECK(count_stacks().cold == before.cold + 1);
    REQUIRE(take_stack(32 * 1024, second) == 0);
    CHECK(second.base == first.base);
    CHECK(count_stacks().carved == before.carved);
    CHECK(touched(second) == 0);
    for (char* at = second.base + guard_size; at < second.base + second.size(); ++at) REQUIRE(*at == 0);
    give_stack(second);
  }

  TEST_CASE("the high-water mark is the lowest page touched, in whole pages") {
    const taken s(64 * 1024);
    CHECK(touched(s) == 0);
    s.base[s.size() - 1] = 1;
    CHECK(touched(s) == page);
    s.base[s.size() - 3 * page] = 1;
    CHECK(touched(s) == 3 * page);
    s.base[guard_size] = 1;
    CHECK(touched(s) == s.size() - guard_size);
  }

  TEST_CASE("the mark of a stack larger than one look at its pages is right too") {
    const taken s(std::size_t{1} << 20);
    s.base[guard_size + 100 * page] = 1;
    CHECK(touched(s) == s.size() - guard_size - 100 * page);
  }

  TEST_CASE("trimming returns the pages below an address and keeps the rest") {
    const taken s(64 * 1024);
    std::memset(s.base + guard_size, 0x77, s.size() - guard_size);
    char* keep_from = s.base + s.size() - 2 * page + 100;
    trim_stack(s, keep_from);
    CHECK(touched(s) == 2 * page);
    CHECK(s.base[guard_size] == 0);
    CHECK(s.base[s.size() - 2 * page] == 0x77);
    trim_stack(s, s.base);  // nothing is below the guard
    CHECK(s.base[s.size() - 1] == 0x77);
  }

  TEST_CASE("without address space there is ENOMEM, after smaller slabs were tried, and what is given back serves again") {
    SKIP_IF(unit::sanitized, "a sanitizer's shadow needs the address space");
    const auto end = no_address_space.play();
    INFO(end.text);
    CHECK(end.exited(0));
  }
}
