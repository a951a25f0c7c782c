// Stacks that libc maps for threads of a preloaded program.
//
// libc maps a stack without access and then opens all but its guard, so each stack splits a map in two, and
// vm.max_map_count ends the program at 32,000 threads. Here the stack is mapped open, and the guard is installed inside
// it (MADV_GUARD_INSTALL), so that neighbours become one map.
//
// What libc unmaps is kept for the next, emptied: so few stacks does it keep itself (40 MB of them) that with a thread
// for each request it would map and unmap one each time.
#include <errno.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include <algorithm>
#include <cstdint>

#include "lib/base/spin.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/serve.hpp"
#include "lib/sched/threads.hpp"
#include "lib/sys/features.hpp"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // madvise(2), Linux 6.13
#endif
#ifndef MADV_GUARD_REMOVE
#define MADV_GUARD_REMOVE 103
#endif

namespace bide::call {
namespace {

struct mapped_stack {
  std::uintptr_t base = 0;  // 0: none
  std::size_t bytes = 0, guard = 0;
  std::uintptr_t end() const noexcept { return base + bytes; }
};

// Stacks that libc has, by address; one that finds its place taken is not known of, and unmapped as ever.
constexpr std::size_t places = 1024, most_kept = 64;
constinit std::atomic<std::uint32_t> lock{0};
constinit mapped_stack in_use[places];    // guarded by lock
constinit mapped_stack kept[most_kept];   // guarded by lock
constinit std::atomic<std::size_t> kept_count{0};  // written under lock
constinit std::atomic<bool> guards_vary{false};    // there has been one of more than a page

mapped_stack& place_of(std::uintptr_t base) noexcept {
  const std::uint64_t page = base >> 12;
  return in_use[(page ^ page >> 10 ^ page >> 20) % places];
}

// Returns whether it is known of now.
bool note(const mapped_stack& s) noexcept {
  if (s.guard > context::page) guards_vary.store(true, std::memory_order_relaxed);
  base::spin_guard guard(lock);
  mapped_stack& place = place_of(s.base);
  if (place.base && place.base != s.base) return false;
  place = s;
  return true;
}

// Takes out one of those kept of which `fits` says so.
template <class Fits>
mapped_stack take_kept(Fits fits) noexcept {
  if (kept_count.load(std::memory_order_relaxed) == 0) return {};
  base::spin_guard guard(lock);
  const std::size_t count = kept_count.load(std::memory_order_relaxed);
  for (std::size_t i = count; i-- > 0;) {  // the newest first
    if (!fits(kept[i])) continue;
    const mapped_stack found = kept[i];
    kept[i] = kept[count - 1];
    kept_count.store(count - 1, std::memory_order_relaxed);
    return found;
  }
  return {};
}

void unmap(const mapped_stack& s) noexcept { bide_gate(SYS_munmap, sys::word(s.base), sys::word(s.bytes), 0, 0, 0, 0); }

// To the program they are unmapped: what it maps there itself finds the place free.
void give_up_kept(std::uintptr_t from, std::uintptr_t to) noexcept {
  for (;;) {
    const mapped_stack s = take_kept([&](const mapped_stack& k) { return k.base < to && from < k.end(); });
    if (!s.base) return;
    unmap(s);
  }
}

// What is kept is in nobody's way.
long map(long at, long bytes, long protection, long flags, long fd, long offset) noexcept {
  const long mapped = bide_gate(SYS_mmap, at, bytes, protection, flags, fd, offset);
  if (mapped != -ENOMEM || kept_count.load(std::memory_order_relaxed) == 0) return mapped;
  give_up_kept(0, UINTPTR_MAX);
  return bide_gate(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

// Emptied, because libc takes a new stack to be all zero. Returns whether there was room.
bool keep(const mapped_stack& s) noexcept {
  if (kept_count.load(std::memory_order_relaxed) == most_kept) return false;
  const std::uintptr_t low = s.base + s.guard;
  if (sys::failed(bide_gate(SYS_madvise, sys::word(low), sys::word(s.end() - low), MADV_DONTNEED, 0, 0, 0))) return false;
  base::spin_guard guard(lock);
  const std::size_t count = kept_count.load(std::memory_order_relaxed);
  if (count == most_kept) return false;
  kept[count] = s;
  kept_count.store(count + 1, std::memory_order_relaxed);
  return true;
}

bool change_guard(std::uintptr_t at, std::size_t bytes, int how) noexcept {
  return !sys::failed(bide_gate(SYS_madvise, sys::word(at), sys::word(bytes), how, 0, 0, 0));
}

// Guards a stack of which libc opens all else, at `open_from`. `guard_there`: of one that was kept, what it has; else 0.
long close_below(const mapped_stack& s, std::size_t guard_there, long open_from, long open_bytes) noexcept {
  const bool used_before = guard_there != 0;
  // libc may open a part of a wide guard again, which has to be known then.
  const bool may_install = note(s) || s.guard <= context::page;
  if (used_before && !(may_install && guard_there == s.guard)) {
    change_guard(s.base, guard_there, MADV_GUARD_REMOVE);
    guard_there = 0;
  }
  if (!guard_there && !(may_install && change_guard(s.base, s.guard, MADV_GUARD_INSTALL))) {
    if (may_install) sys::features().guard_install = false;
    const long answer = bide_gate(SYS_mprotect, sys::word(s.base), sys::word(s.guard), PROT_NONE, 0, 0, 0);
    if (answer) return answer;
  }
  // Who had it may have closed a part of it.
  return used_before ? bide_gate(SYS_mprotect, open_from, open_bytes, PROT_READ | PROT_WRITE, 0, 0, 0) : 0;
}

// libc gives a stack of its own store to a thread that wants less of a guard, and opens the rest: mprotect(2) doesn't open
// what MADV_GUARD_INSTALL has closed.
void open_guard(std::uintptr_t from, std::uintptr_t to) noexcept {
  std::uintptr_t end = 0;
  {
    base::spin_guard guard(lock);
    for (mapped_stack& s : in_use) {
      if (!s.base || from < s.base || from >= s.base + s.guard) continue;
      end = std::min(to, s.base + s.guard);
      s.guard = from - s.base;
      break;
    }
  }
  if (end) change_guard(from, end - from, MADV_GUARD_REMOVE);
}

long map_stack(long bytes, long flags, core::thread& me) noexcept {
  const mapped_stack again = take_kept([&](const mapped_stack& k) { return k.bytes == static_cast<std::size_t>(bytes); });
  me.opening = again.base;
  me.opening_guard = again.guard;
  if (!again.base) {
    const long mapped = map(0, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, -1, 0);
    if (sys::failed(mapped)) return mapped;
    me.opening = static_cast<std::uintptr_t>(mapped);
  }
  me.opening_bytes = static_cast<std::size_t>(bytes);
  return static_cast<long>(me.opening);
}

}  // namespace

std::uintptr_t lowest_of_stack(std::uintptr_t base) noexcept {
  {
    base::spin_guard guard(lock);
    const mapped_stack& s = place_of(base);
    if (s.base == base) return base + s.guard;
  }
  // The program's own, or not known of: it is tried.
  constexpr std::uintptr_t widest_guard = 64 * context::page;
  for (std::uintptr_t at = base; at - base <= widest_guard; at += context::page) {
    char there;
    if (copy_in(&there, reinterpret_cast<void*>(at), 1) == 0) return at;
  }
  return 0;
}

bool is_stack_guard(const void* address, const core::thread& me) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  if (me.stack_low - 1 - at < context::page && &me != core::main_thread()) return true;  // perhaps not known of
  base::spin_guard guard(lock);
  return std::any_of(std::begin(in_use), std::end(in_use),
                     [&](const mapped_stack& s) { return s.base && at - s.base < s.guard; });
}

long mmap_call(long at, long bytes, long protection, long flags, long fd, long offset) {
  const bool stack = protection == PROT_NONE && (flags & MAP_STACK) && (flags & MAP_PRIVATE) &&
                     static_cast<int>(fd) == -1 && at == 0;
  if (stack && sys::features().guard_install) return map_stack(bytes, flags, *core::this_thread());
  const auto from = static_cast<std::uintptr_t>(at);
  if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) give_up_kept(from, from + static_cast<std::size_t>(bytes));
  return map(at, bytes, protection, flags, fd, offset);
}

long mprotect_call(long at, long bytes, long protection, long, long, long) {
  core::thread& me = *core::this_thread();
  const auto open_from = static_cast<std::uintptr_t>(at);
  if (me.opening && open_from > me.opening && open_from + static_cast<std::size_t>(bytes) == me.opening + me.opening_bytes &&
      protection == (PROT_READ | PROT_WRITE)) {
    const mapped_stack s{me.opening, me.opening_bytes, open_from - me.opening};
    me.opening = 0;
    return close_below(s, me.opening_guard, at, bytes);
  }
  me.opening = 0;
  if ((protection & PROT_READ) && guards_vary.load(std::memory_order_relaxed))
    open_guard(open_from, open_from + static_cast<std::size_t>(bytes));
  return bide_gate(SYS_mprotect, at, bytes, protection, 0, 0, 0);
}

long munmap_call(long at, long bytes, long, long, long, long) {
  const auto base = static_cast<std::uintptr_t>(at);
  mapped_stack s;
  {
    base::spin_guard guard(lock);
    mapped_stack& place = place_of(base);
    if (place.base == base) {
      s = place;
      place = {};
    }
  }
  give_up_kept(base, base + static_cast<std::size_t>(bytes));
  if (s.base && s.bytes == static_cast<std::size_t>(bytes) && keep(s)) return 0;
  return bide_gate(SYS_munmap, at, bytes, 0, 0, 0, 0);
}

// The end of a thread: libc returns what of its stack lies deeper than 16 KiB. Where the thread has not been there, that is
// a walk and a flush of the TLB for nothing.
long madvise_call(long at, long bytes, long advice, long, long, long) {
  constexpr long shallow = 48 * 1024;
  if (advice == MADV_DONTNEED && bytes > shallow) {
    bool own;
    {
      base::spin_guard guard(lock);
      own = place_of(static_cast<std::uintptr_t>(at)).base == static_cast<std::uintptr_t>(at);
    }
    unsigned char there = 1;
    const long page = (at + bytes - shallow) & ~4095L;
    if (own && bide_gate(SYS_mincore, page, 4096, sys::word(&there), 0, 0, 0) == 0 && !(there & 1)) return 0;
  }
  return bide_gate(SYS_madvise, at, bytes, advice, 0, 0, 0);
}

long mremap_call(long at, long bytes, long new_bytes, long flags, long to, long) {
  const auto from = static_cast<std::uintptr_t>(to);
  if (flags & MREMAP_FIXED) give_up_kept(from, from + static_cast<std::size_t>(new_bytes));
  return bide_gate(SYS_mremap, at, bytes, new_bytes, flags, to, 0);
}

long shmat_call(long id, long at, long flags, long, long, long) {
  shmid_ds segment;
  if (at && kept_count.load(std::memory_order_relaxed) && sys::raw(SYS_shmctl, id, IPC_STAT, &segment) == 0) {
    const auto from = static_cast<std::uintptr_t>(at) & ~(context::page - 1);  // SHM_RND
    give_up_kept(from, from + segment.shm_segsz);
  }
  return bide_gate(SYS_shmat, id, at, flags, 0, 0, 0);
}

void stacks_after_fork() noexcept {
  if (lock.exchange(0, std::memory_order_relaxed) == 0) return;
  // Somebody was about to change them.
  kept_count.store(0, std::memory_order_relaxed);
  for (mapped_stack& s : in_use) s = {};
}

}  // namespace bide::call
