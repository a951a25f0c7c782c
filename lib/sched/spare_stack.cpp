#include "lib/sched/spare_stack.hpp"

#include "asm/trap.h"
#include "lib/base/arena.hpp"

namespace bide::core {

struct spare_stack {
  spare_stack* next;
  std::uintptr_t left_at;  // the thread's stack pointer; 0: not in use
  alignas(64) char bytes[16 * 1024 - 256];

  bool holds(std::uintptr_t at) const noexcept { return at - reinterpret_cast<std::uintptr_t>(bytes) < sizeof bytes; }
};

namespace {

std::uintptr_t stack_pointer() noexcept {
  std::uintptr_t here;
  asm volatile("movq %%rsp, %0" : "=r"(here));
  return here;
}

// One that a handler has left by longjmp(3) is in use no more: the thread is further up the stack again.
bool is_free(const spare_stack& s, std::uintptr_t here) noexcept { return !s.left_at || here - s.left_at < room_for_call; }

spare_stack* take(thread& t, std::uintptr_t here) noexcept {
  for (spare_stack* s = t.spare_stacks; s; s = s->next) {
    if (is_free(*s, here)) return s;
  }
  auto* s = static_cast<spare_stack*>(base::arena_allocate(sizeof(spare_stack)));
  if (!s) return nullptr;
  s->next = t.spare_stacks;
  return t.spare_stacks = s;
}

}  // namespace

void run_on_spare_stack(thread& t, void (*f)(void*), void* argument) {
  const std::uintptr_t here = stack_pointer();
  spare_stack* const s = take(t, here);
  if (!s) return f(argument);
  s->left_at = here;
  bide_on_stack(f, argument, s->bytes + sizeof s->bytes);
  s->left_at = 0;
}

std::uintptr_t left_for_spare_stack(const thread& t, std::uintptr_t here) noexcept {
  for (const spare_stack* s = t.spare_stacks; s; s = s->next) {
    if (s->holds(here)) return s->left_at;
  }
  return 0;
}

void leave_spare_stack(thread& t) noexcept {
  const std::uintptr_t here = stack_pointer();
  for (spare_stack* s = t.spare_stacks; s; s = s->next) {
    if (s->holds(here)) s->left_at = 0;
  }
}

void free_spare_stacks(thread& t) noexcept {
  while (spare_stack* s = t.spare_stacks) {
    t.spare_stacks = s->next;
    base::arena_free(s);
  }
}

}  // namespace bide::core
