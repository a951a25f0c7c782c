// Stacks: address space in slabs, a guard below each, pools above.
//
// A stack is `size` bytes (a power of two, so that it is found from any address in it): guard at the bottom, then room
// for frames, then the fiber's record at the top, so that a parked fiber touches one page. Tops are coloured: the i-th
// record of a slab sits (i % 16) * 64 bytes lower, or the hot lines of all fibers would share one cache set.
// Slabs are never given back: a stack that is not in use costs address space, and a page if it is warm.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bide::context {

inline constexpr std::size_t page = 4096;
inline constexpr std::size_t smallest_stack = 16 * 1024;
inline constexpr std::size_t largest_stack = std::size_t{1} << 30;
inline constexpr std::size_t guard_size = 2 * page;

struct stack {
  char* base = nullptr;  // lowest address; the guard begins here
  std::uint32_t shift = 0;  // size is 1 << shift
  std::uint32_t colour = 0;  // bytes that the top is lowered by

  std::size_t size() const noexcept { return std::size_t{1} << shift; }
  char* top() const noexcept { return base + size() - colour; }
};

// Takes a cold stack: its pages are zero. Returns 0, or -ENOMEM when there is no address space. Any thread.
int take_stack(std::size_t size, stack& out) noexcept;

// Takes back a stack and returns its pages to the kernel. Any thread.
// By value: the description usually stands on the stack itself.
void give_stack(stack) noexcept;

// Returns the pages of a stack below `from` to the kernel; it stays in use.
void trim_stack(const stack&, char* from) noexcept;

// Finds the stack that an address belongs to, with its guard, or returns false. Safe in a signal handler.
bool find_stack(const void* address, stack& out) noexcept;

// Bytes of the stack that were ever touched since it was cold, by mincore(2): whole pages.
std::size_t touched(const stack&) noexcept;

// Rounds up to a size that stacks come in; 0 if out of bounds.
std::size_t round_stack_size(std::size_t) noexcept;

// Around a fork, as the arena's (lib/base/arena.hpp), and before that one's.
void lock_stacks() noexcept;
void unlock_stacks() noexcept;

// Stacks carved from slabs since the process began, and those lying cold.
struct stack_counts {
  std::size_t carved, cold;
};
stack_counts count_stacks() noexcept;

}  // namespace bide::context
