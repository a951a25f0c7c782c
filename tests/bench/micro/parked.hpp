/// Rows 4 and 5, the same code for each runtime: what parked fibers cost in memory.
///
/// A Runtime is a type with a `gate` (wait() parks, open(n) lets n pass) and static spawn_detached(stack_size, f) and
/// yield().
#pragma once

#include "probe.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace bench {

constexpr std::size_t page = 4096;

/// Tells whether the stack that `inside` lies on ends in memory that cannot be touched.
///
/// write(2) reports EFAULT for a guard page of either kind (PROT_NONE, MADV_GUARD_INSTALL) and raises no signal.
inline bool is_guarded(const void* inside, std::size_t stack_size) {
  static int ends[2] = {-1, -1};
  if (ends[0] < 0 && pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) std::abort();
  auto at = reinterpret_cast<std::uintptr_t>(inside) & ~(page - 1);
  // One allocator counts the guard into the size, another adds it.
  for (std::size_t below = 0; below <= stack_size; below += page, at -= page) {
    if (write(ends[1], reinterpret_cast<const void*>(at), 1) < 0) return true;
    char drop;
    if (read(ends[0], &drop, 1) != 1) std::abort();
  }
  return false;
}

/// Parks `count` fibers, reports what each of them costs, and lets them all run to their end.
///
/// Reports:  resident and page-table bytes a fiber, maps of the process, the share of sampled stacks that end in a
///           guard, and how many fibers were parked and came back.
template <class Runtime>
void measure_parked(const char* subject, const char* prefix, long count, std::size_t stack_size) {
  typename Runtime::gate gate;
  long parked = 0;
  long ended = 0;
  std::vector<const void*> sampled;
  sampled.reserve(64);
  const long stride = count / 64 + 1;
  const memory before = memory::now();
  const double start = cpu_ns();
  try {
    for (long i = 0; i < count; ++i) {
      Runtime::spawn_detached(stack_size, [&gate, &parked, &ended, &sampled, stride] {
        if (parked++ % stride == 0) sampled.push_back(__builtin_frame_address(0));
        gate.wait();
        ++ended;
      });
      if (i % 1024 == 1023) Runtime::yield();
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: no more fibers: %s\n", subject, e.what());
  }
  for (int turn = 0; turn < 8; ++turn) Runtime::yield();
  const double used = cpu_ns() - start;
  const memory after = memory::now();

  const long reached = parked;
  long guarded = 0;
  for (const void* inside : sampled) guarded += is_guarded(inside, stack_size);
  gate.open(reached);
  while (ended < reached) Runtime::yield();

  const auto say = [&](const char* what, double value) {
    report(subject, (std::string(prefix) + "-" + what).c_str(), value);
  };
  const auto per_fiber = static_cast<double>(reached);
  say("resident", (after.resident - before.resident) / per_fiber);
  say("page-tables", (after.page_tables - before.page_tables) / per_fiber);
  say("total", after.resident);
  say("maps", static_cast<double>(after.maps));
  const double share = static_cast<double>(guarded) / static_cast<double>(sampled.size());
  say("guarded", share);
  say("guarded-count", share * per_fiber);
  say("count", per_fiber);
  say("cpu", used / per_fiber);
}

}  // namespace bench
