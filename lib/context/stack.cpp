#include "lib/context/stack.hpp"

#include <sys/mman.h>
#include <errno.h>

#include <atomic>
#include <algorithm>
#include <bit>

#include "lib/base/arena.hpp"
#include "lib/base/spin.hpp"
#include "lib/base/text.hpp"
#include "lib/context/tools.hpp"
#include "lib/sys/features.hpp"
#include "lib/sys/raw.hpp"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // madvise(2), Linux 6.13; older headers lack it
#endif

namespace bide::context {
namespace {

constexpr unsigned smallest_shift = std::countr_zero(smallest_stack);
constexpr unsigned size_classes = std::countr_zero(largest_stack) - smallest_shift + 1;
constexpr std::size_t most_slabs = 16 * 1024;
// mprotect splits a map in two: this leaves half of vm.max_map_count's default for the program.
constexpr std::size_t mprotect_budget = 16 * 1024;

struct slab {
  char* base;
  std::size_t bytes;
  std::uint32_t shift;
};

struct size_class {
  char* next = nullptr;  // uncarved part of the newest slab
  std::size_t left = 0;  // stacks in it
  std::size_t slab_stacks = 16;
  char** cold = nullptr;  // addresses of cold stacks
  std::size_t cold_count = 0, cold_room = 0;
};

std::atomic<std::uint32_t> lock;
size_class classes[size_classes];  // guarded by lock
slab slabs[most_slabs];            // written under lock, then published by slab_count
std::atomic<std::size_t> slab_count;
std::size_t carved;                // guarded by lock
std::size_t mprotected;            // guarded by lock
bool warned;                       // guarded by lock

stack describe(char* base, std::uint32_t shift) noexcept {
  return {base, shift, static_cast<std::uint32_t>((reinterpret_cast<std::uintptr_t>(base) >> shift) % 16 * 64)};
}

void warn_unguarded() noexcept {
  if (warned) return;
  warned = true;
  base::text t;
  (t << "bide: stacks beyond the first " << std::uint64_t{mprotected}
     << " have no guard page: this kernel lacks MADV_GUARD_INSTALL (Linux 6.13) and the map limit is near "
        "(sysctl vm.max_map_count)\n")
      .to_stderr();
}

void install_guard(char* base) noexcept {
  if (sys::features().guard_install) {
    if (!sys::failed(sys::raw(SYS_madvise, base, guard_size, MADV_GUARD_INSTALL))) return;
    // EINVAL: an older kernel, or a program under mlockall(2).
    sys::features().guard_install = false;
  }
  if (mprotected < mprotect_budget && !sys::failed(sys::raw(SYS_mprotect, base, guard_size, PROT_NONE))) {
    ++mprotected;
    return;
  }
  warn_unguarded();
}

// Grows by doubling up to 8 GiB, and falls back to less when address space is short (RLIMIT_AS, overcommit).
int add_slab(size_class& c, std::uint32_t shift) noexcept {
  const std::size_t size = std::size_t{1} << shift;
  const std::size_t number = slab_count.load(std::memory_order_relaxed);
  if (number == most_slabs) return -ENOMEM;
  for (std::size_t count = c.slab_stacks;; count /= 2) {
    if (!count) return -ENOMEM;
    const std::size_t wanted = count * size;
    // Aligned to the stack's size: reserve one more and let the kernel have the ends back.
    char* raw = static_cast<char*>(base::reserve(wanted + size));
    if (!raw) continue;
    char* base = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(raw) + size - 1) & ~(size - 1));
    if (base != raw) sys::raw(SYS_munmap, raw, base - raw);
    if (raw + size != base) sys::raw(SYS_munmap, base + wanted, raw + size - base);
    // A huge page under a stack would make each of them 2 MiB large.
    sys::raw(SYS_madvise, base, wanted, MADV_NOHUGEPAGE);
    slabs[number] = {base, wanted, shift};
    slab_count.store(number + 1, std::memory_order_release);  // pairs with find_stack's acquire
    c.next = base;
    c.left = count;
    if (c.slab_stacks * 2 * size <= (std::size_t{1} << 33)) c.slab_stacks *= 2;
    return 0;
  }
}

bool push_cold(size_class& c, char* base) noexcept {
  if (c.cold_count == c.cold_room) {
    const std::size_t room = c.cold_room ? c.cold_room * 2 : 64;
    auto* larger = static_cast<char**>(base::arena_resize(c.cold, room * sizeof(char*)));
    if (!larger) return false;
    c.cold = larger;
    c.cold_room = room;
  }
  c.cold[c.cold_count++] = base;
  return true;
}

}  // namespace

std::size_t round_stack_size(std::size_t size) noexcept {
  return size < smallest_stack || size > largest_stack ? 0 : std::bit_ceil(size);
}

int take_stack(std::size_t size, stack& out) noexcept {
  const auto shift = static_cast<std::uint32_t>(std::countr_zero(size));
  size_class& c = classes[shift - smallest_shift];
  base::spin_guard guard(lock);
  if (c.cold_count) {
    out = describe(c.cold[--c.cold_count], shift);
    return 0;
  }
  if (!c.left) {
    if (const int error = add_slab(c, shift)) return error;
  }
  out = describe(c.next, shift);
  c.next += size;
  --c.left;
  ++carved;
  install_guard(out.base);
  tools::stack_made(out.base + guard_size, out.base + size);
  return 0;
}

void give_stack(stack s) noexcept {
  trim_stack(s, s.base + s.size());
  base::spin_guard guard(lock);
  // Without memory for its address the stack is lost: address space only.
  push_cold(classes[s.shift - smallest_shift], s.base);
}

void trim_stack(const stack& s, char* from) noexcept {
  char* low = s.base + guard_size;
  from = reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(from) & ~(page - 1));
  if (from > low) sys::raw(SYS_madvise, low, from - low, MADV_DONTNEED);
}

bool find_stack(const void* address, stack& out) noexcept {
  const char* a = static_cast<const char*>(address);
  const std::size_t count = slab_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    const slab& s = slabs[i];
    if (a < s.base || a >= s.base + s.bytes) continue;
    out = describe(s.base + ((a - s.base) >> s.shift << s.shift), s.shift);
    return true;
  }
  return false;
}

std::size_t touched(const stack& s) noexcept {
  std::size_t resident = 0;
  unsigned char present[64];
  for (char* at = s.base + guard_size; at < s.base + s.size(); at += sizeof present * page) {
    const std::size_t length = std::min<std::size_t>(sizeof present * page, s.base + s.size() - at);
    if (sys::failed(sys::raw(SYS_mincore, at, length, present))) return 0;
    for (std::size_t i = 0; i < length / page; ++i) {
      // The lowest resident page is the high-water mark: a stack is used from the top down.
      if (present[i] & 1) return s.base + s.size() - (at + i * page);
    }
  }
  return resident;
}

void lock_stacks() noexcept { base::spin_lock(lock); }
void unlock_stacks() noexcept { base::spin_unlock(lock); }

stack_counts count_stacks() noexcept {
  base::spin_guard guard(lock);
  stack_counts counts{carved, 0};
  for (const size_class& c : classes) counts.cold += c.cold_count;
  return counts;
}

}  // namespace bide::context
