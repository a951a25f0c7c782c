// Stacks that libc maps for threads of a preloaded program.
//
// libc maps a stack without access and then opens all but its guard, so each stack splits a map in two, and
// vm.max_map_count ends the program at 32,000 threads. Here the stack is mapped open, and the guard is installed inside
// it (MADV_GUARD_INSTALL), so that neighbours become one map.
#include <sys/mman.h>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/sched/threads.hpp"
#include "lib/sys/features.hpp"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // madvise(2), Linux 6.13
#endif

namespace bide::call {

long mmap_call(long at, long bytes, long protection, long flags, long fd, long offset) {
  const bool stack = protection == PROT_NONE && (flags & MAP_STACK) && (flags & MAP_PRIVATE) &&
                     static_cast<int>(fd) == -1 && at == 0;
  if (!stack || !sys::features().guard_install) return bide_gate(SYS_mmap, at, bytes, protection, flags, fd, offset);
  const long mapped = bide_gate(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, offset);
  if (sys::failed(mapped)) return mapped;
  core::thread& me = *core::this_thread();
  me.opening = reinterpret_cast<char*>(mapped);
  me.opening_bytes = static_cast<std::size_t>(bytes);
  return mapped;
}

long mprotect_call(long at, long bytes, long protection, long, long, long) {
  core::thread& me = *core::this_thread();
  char* const open_from = reinterpret_cast<char*>(at);
  if (me.opening && open_from > me.opening && open_from + bytes == me.opening + me.opening_bytes &&
      protection == (PROT_READ | PROT_WRITE)) {
    char* const guard = me.opening;
    me.opening = nullptr;
    const long answer = bide_gate(SYS_madvise, sys::word(guard), open_from - guard, MADV_GUARD_INSTALL, 0, 0, 0);
    if (!sys::failed(answer)) return 0;
    sys::features().guard_install = false;
    return bide_gate(SYS_mprotect, sys::word(guard), open_from - guard, PROT_NONE, 0, 0, 0);
  }
  me.opening = nullptr;
  return bide_gate(SYS_mprotect, at, bytes, protection, 0, 0, 0);
}

}  // namespace bide::call
