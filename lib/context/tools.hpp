// Sanitizers and Valgrind, told of stacks and switches.
//
// Found at run time: their functions are weak, so one binary serves a plain program and a checked one. A build with a
// sanitizer checks the runtime itself as well.
#pragma once

#include <cstddef>

// TSan counts calls and returns per fiber, so a function in which a switch is announced must not be counted.
#define BIDE_UNCOUNTED __attribute__((noinline, no_sanitize_thread, no_sanitize_address))

namespace bide::context::tools {

// What the tools know a context by. One in each fiber and one in each worker for its own context.
struct identity {
  void* asan_fake_stack = nullptr;
  const void* stack_bottom = nullptr;  // lowest address of the stack; null: the thread's own, asked of ASan
  std::size_t stack_size = 0;
  void* tsan_fiber = nullptr;
};

// Whether a tool is there that wants to know. Set before any stack is made.
extern bool present;

// Kernel threads that the tools run for themselves.
unsigned own_threads() noexcept;

// A stack was carved: Valgrind wants to know its bounds.
void stack_made(const void* low, const void* high) noexcept;

// A fiber begins to use a stack, or will never run again.
void context_made(identity&, const void* low, const void* high) noexcept;
void context_gone(identity&) noexcept;
// The calling thread's own context, and its end.
void context_is_thread(identity&) noexcept;
void thread_gone(identity&) noexcept;

enum class leaving { for_now, for_ever };
void before_switch(identity& from, identity& to, leaving) noexcept;
// On arrival: `me` runs again; `from` is whom we came from.
void after_switch(identity& me, identity& from) noexcept;

}  // namespace bide::context::tools
