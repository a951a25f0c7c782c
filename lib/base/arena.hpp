// The runtime's own memory. A fiber may be inside the program's malloc when it needs some.
//
// Blocks come in powers of two from 64 bytes; freed ones wait in a list of their size for the next of that size.
// Large ones (from 64 KiB) are mapped and unmapped one by one. Any thread.
#pragma once

#include <cstddef>

namespace bide::base {

// Returns zeroed memory, or null when the kernel has none. 64-byte aligned.
void* arena_allocate(std::size_t bytes) noexcept;
void arena_free(void* block) noexcept;
// As realloc(3); the new part is not zeroed.
void* arena_resize(void* block, std::size_t bytes) noexcept;

// Memory for `count` items of a plain type, for the time of a call; get() is null when there is none.
template <class T>
class room {
 public:
  explicit room(std::size_t count) noexcept
      : items_(count ? static_cast<T*>(arena_allocate(count * sizeof(T))) : nullptr) {}
  ~room() { arena_free(items_); }
  room(const room&) = delete;
  T* get() const noexcept { return items_; }

 private:
  T* items_;
};

// Reserves address space without memory behind it; null when there is none.
void* reserve(std::size_t bytes) noexcept;

// Around a fork: the child has no other thread that would finish what it does to the arena.
void arena_lock() noexcept;
void arena_unlock() noexcept;

}  // namespace bide::base
