// Stacks for what the runtime does for a thread of a preloaded program that has little left of its own, or is on an
// alternate one that was never meant for more than a handler. They are the thread's until its end.
#pragma once

#include <cstdint>

#include "lib/sched/threads.hpp"

namespace bide::core {

// What a call needs of a stack at most, and a little for a handler that interrupts it; and what the way to a spare one does.
inline constexpr std::uintptr_t room_for_call = 8192, room_to_leave = 1024;

// Whether a thread whose stack pointer is at `here` has less than that left of the stack it is on. Of a stack that the
// program has made itself nothing is known.
inline bool has_little_left(const thread& t, std::uintptr_t here) noexcept {
  return here - t.stack_low < room_for_call ||
         here - reinterpret_cast<std::uintptr_t>(t.alternate.ss_sp) < room_for_call;  // no alternate one: at 0
}

// Before the runtime is entered: a thread that has not even the room to leave its stack overflows here, where the fault is
// its own, and its handler's. So far down can be no other's memory but a guard.
inline void overflow_here(const thread& t) noexcept {
  std::uintptr_t here;
  asm volatile("movq %%rsp, %0" : "=r"(here));
  if (has_little_left(t, here)) [[unlikely]] {
    asm volatile("testb $0, %0" ::"m"(*reinterpret_cast<const char*>(here - room_to_leave)) : "cc");
  }
}

// Runs f(argument) on a spare stack of the running thread; here if there is no memory for one. Inside the runtime; f may
// park, and leave it, and may not return.
void run_on_spare_stack(thread&, void (*f)(void*), void* argument);

// Runs `f` here, or on a spare stack where little is left of this one.
template <class F>
void with_enough_stack(thread& t, F f) {
  if (!has_little_left(t, reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)))) [[likely]] return f();
  run_on_spare_stack(t, [](void* p) { (*static_cast<F*>(p))(); }, &f);
}

// Where the thread has left its stack, if `here` is on a spare one; 0: it hasn't.
std::uintptr_t left_for_spare_stack(const thread&, std::uintptr_t here) noexcept;

// Inside f: it won't return.
void leave_spare_stack(thread&) noexcept;

// Once the thread has ended.
void free_spare_stacks(thread&) noexcept;

}  // namespace bide::core
