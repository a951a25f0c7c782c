#include "lib/base/arena.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>

#include "asm/gate.h"
#include "lib/base/spin.hpp"

namespace bide::base {
namespace {

constexpr std::size_t header = 64;  // keeps blocks 64-byte aligned
constexpr std::size_t smallest = 128, largest = 64 * 1024, chunk = 256 * 1024;
constexpr int classes = std::countr_zero(largest) - std::countr_zero(smallest) + 1;

struct block {
  std::size_t bytes;  // whole size, header included
  block* next;        // while free
};

std::atomic<std::uint32_t> lock;
block* free_blocks[classes];  // guarded by lock
char* bump = nullptr;         // guarded by lock
std::size_t bump_left = 0;    // guarded by lock

void* map(std::size_t bytes, int flags) noexcept {
  const long p = bide_gate(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return p < 0 && p > -4096 ? nullptr : reinterpret_cast<void*>(p);
}

block* header_of(void* p) noexcept { return reinterpret_cast<block*>(static_cast<char*>(p) - header); }
int class_of(std::size_t bytes) noexcept { return std::countr_zero(bytes) - std::countr_zero(smallest); }

}  // namespace

void* arena_allocate(std::size_t wanted) noexcept {
  const std::size_t bytes = std::bit_ceil(wanted + header < smallest ? smallest : wanted + header);
  if (bytes > largest) {
    const std::size_t exact = (wanted + header + 4095) & ~std::size_t{4095};
    auto* b = static_cast<block*>(map(exact, 0));
    if (!b) return nullptr;
    b->bytes = exact;
    return reinterpret_cast<char*>(b) + header;
  }
  block* b;
  bool used_before = true;
  {
    spin_guard guard(lock);
    block*& list = free_blocks[class_of(bytes)];
    if ((b = list)) {
      list = b->next;
    } else {
      used_before = false;  // zero as the kernel made it, and no memory until it is used
      if (bump_left < bytes) {
        char* fresh = static_cast<char*>(map(chunk, 0));
        if (!fresh) return nullptr;
        bump = fresh;
        bump_left = chunk;
      }
      b = reinterpret_cast<block*>(bump);
      bump += bytes;
      bump_left -= bytes;
    }
  }
  b->bytes = bytes;
  char* const content = reinterpret_cast<char*>(b) + header;
  return used_before ? std::memset(content, 0, bytes - header) : content;
}

void arena_free(void* p) noexcept {
  if (!p) return;
  block* b = header_of(p);
  if (b->bytes > largest) {
    bide_gate(SYS_munmap, reinterpret_cast<long>(b), static_cast<long>(b->bytes), 0, 0, 0, 0);
    return;
  }
  spin_guard guard(lock);
  block*& list = free_blocks[class_of(b->bytes)];
  b->next = list;
  list = b;
}

void* arena_resize(void* p, std::size_t bytes) noexcept {
  if (!p) return bytes ? arena_allocate(bytes) : nullptr;
  if (!bytes) return arena_free(p), nullptr;
  const std::size_t room = header_of(p)->bytes - header;
  if (bytes <= room) return p;
  void* larger = arena_allocate(bytes);
  if (!larger) return nullptr;
  std::memcpy(larger, p, room);
  arena_free(p);
  return larger;
}

void* reserve(std::size_t bytes) noexcept { return map(bytes, MAP_NORESERVE); }

void arena_lock() noexcept { spin_lock(lock); }
void arena_unlock() noexcept { spin_unlock(lock); }

}  // namespace bide::base
