/// Rows 9 and 10: what a libc name linked with the symbol door costs on top of the kernel call itself.
#pragma once

#include "probe.hpp"

#include <sys/syscall.h>
#include <unistd.h>

namespace bench {

/// Makes a kernel call that no door can see: the least that a function of a library can do.
///
/// Out of line, because the kernel leaves nothing in the CPU's return predictor: whatever function makes a kernel
/// call pays about 9 ns at its own return, libc's as well as ours, and an inline `syscall` would show that as our
/// cost.
[[gnu::noinline]] inline long raw_call(long number, long a, const void* b, long c, long d = 0, long e = 0,
                                       long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
[[gnu::always_inline]] inline long raw_read(int fd, void* to, long size) { return raw_call(SYS_read, fd, to, size); }
[[gnu::always_inline]] inline long raw_write(int fd, const void* from, long size) {
  return raw_call(SYS_write, fd, from, size);
}

/// Alternates pieces of two loops, and returns how much more CPU time a turn of `measured` takes than one of `base`.
template <class Base, class Measured>
double on_top(Base&& base, Measured&& measured, int turns = 1'000) {
  constexpr int pieces = 81;
  const auto piece = [turns](auto& body) {
    const double start = cpu_ns();
    for (int i = 0; i < turns; ++i) body();
    return (cpu_ns() - start) / turns;
  };
  std::vector<double> more;
  for (int i = 0; i < pieces; ++i) {
    // Which one goes first alternates too: a drift would favour one side.
    const double before = i % 2 ? piece(base) : 0;
    const double with = piece(measured);
    more.push_back(with - (i % 2 ? before : piece(base)));
  }
  return median(more);
}

/// Ends the process unless a call did what the measurement is about.
inline void expect(long result, long wanted) {
  if (result == wanted) return;
  std::fprintf(stderr, "a call returned %ld instead of %ld\n", result, wanted);
  std::abort();
}

}  // namespace bench
