#include "lib/sched/handlers.hpp"

#include <errno.h>

#include <cstring>

#include "asm/trap.h"
#include "lib/base/arena.hpp"
#include "lib/sched/spare_stack.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {
namespace {

constexpr int disarms_itself = static_cast<int>(1u << 31);  // SS_AUTODISARM: there is none while a handler runs
constexpr stack_t no_stack{nullptr, SS_DISABLE, 0};

// A signal nobody handles: the kernel knows what that means. Returns if the process lives on.
void default_action(int number) noexcept {
  switch (number) {
    case SIGCHLD: case SIGURG: case SIGWINCH: case SIGCONT: return;
    default: break;
  }
  signal_action standard;
  sys::raw(SYS_rt_sigaction, number, &standard, nullptr, sizeof(signal_set));
  const signal_set only = ~signal_bit(number);
  signal_set before = 0;
  sys::raw(SYS_kill, sys::raw(SYS_getpid), number);
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &only, &before, sizeof only);  // it ends here, or stops and goes on
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
}

int first_deliverable(const thread& t) noexcept {
  const signal_set open = ~t.mask.load(std::memory_order_relaxed);
  for (const pending_signal* p = t.pending_first; p; p = p->next) {
    if (signal_bit(p->info.si_signo) & open) return p->info.si_signo;
  }
  return 0;
}

struct handler_call {
  int number;
  siginfo_t* info;
  ucontext_t* context;
  void* function;
};

void call_handler(void* p) {
  const auto& c = *static_cast<handler_call*>(p);
  reinterpret_cast<void (*)(int, siginfo_t*, void*)>(c.function)(c.number, c.info, c.context);
}

// The end of the stack that a handler with these flags is to run on; 0: this one.
std::uintptr_t stack_for(const thread& me, unsigned long flags, std::uintptr_t here) noexcept {
  constexpr std::uintptr_t red_zone = 128, alignment = 16;
  const std::uintptr_t left_at = left_for_spare_stack(me, here);
  const std::uintptr_t alternate = alternate_for(me, flags, left_at ? left_at : here);
  return alternate || !left_at ? alternate : (left_at - red_zone) & ~(alignment - 1);
}

// As the kernel does around a handler, with what it notes in the frame: a mask and an alternate stack to go back to.
// `top`: of the stack to run it on; 0: this one.
void call_under(thread& me, handler_call& c, signal_set during, signal_set before, std::uintptr_t top) {
  set_mask(me, during);
  std::memcpy(&c.context->uc_sigmask, &before, sizeof before);
  c.context->uc_stack = me.alternate;
  if (me.alternate.ss_flags & disarms_itself) me.alternate = no_stack;
  context::this_block().inside = 0;
  ++me.handlers;
  if (top) {
    bide_on_stack(call_handler, &c, reinterpret_cast<void*>(top));
  } else {
    call_handler(&c);
  }
  --me.handlers;
  context::this_block().inside = 1;
  // The handler may have changed both.
  change_alternate(me, c.context->uc_stack, static_cast<std::uintptr_t>(c.context->uc_mcontext.gregs[REG_RSP]));
  signal_set after = 0;
  std::memcpy(&after, &c.context->uc_sigmask, sizeof after);
  set_mask(me, after);
}

signal_set mask_of(const signal_action& a, int number) noexcept {
  return a.mask | (a.flags & SA_NODEFER ? 0 : signal_bit(number));
}

void reset_if_once(const signal_action& a, int number) noexcept {
  if (!(a.flags & SA_RESETHAND)) return;
  const signal_action standard;
  change_action(number, &standard, nullptr);
}

}  // namespace

int next_handled(thread& me, signal_action& a) noexcept {
  while (const int number = first_deliverable(me)) {
    a = action_of(number);
    if (is_handled(a)) return number;
    siginfo_t info;
    take_pending(me, signal_bit(number), info);
    if (a.function == reinterpret_cast<void*>(SIG_DFL)) default_action(number);
  }
  return 0;
}

handlers_ran run_handlers(thread& me, ucontext_t& interrupted) {
  handlers_ran how = handlers_ran::none;
  signal_action a;
  while (const int number = next_handled(me, a)) {
    siginfo_t info;
    take_pending(me, signal_bit(number), info);
    reset_if_once(a, number);
    const signal_set now = me.mask.load(std::memory_order_relaxed);
    const signal_set before = me.mask_is_borrowed ? me.mask_before : now;
    me.mask_is_borrowed = false;
    handler_call c{number, &info, &interrupted, a.function};
    call_under(me, c, now | mask_of(a, number), before, stack_for(me, a.flags, reinterpret_cast<std::uintptr_t>(&c)));
    if (how != handlers_ran::some_do_not)
      how = a.flags & SA_RESTART ? handlers_ran::all_restart : handlers_ran::some_do_not;
  }
  return how;
}

bool handle_fault(thread& me, siginfo_t& info, ucontext_t& interrupted) {
  const int number = info.si_signo;
  const signal_action a = action_of(number);
  const signal_set before = me.mask.load(std::memory_order_relaxed);
  if (!is_handled(a) || (before & signal_bit(number))) return false;
  reset_if_once(a, number);
  handler_call c{number, &info, &interrupted, a.function};
  call_under(me, c, before | mask_of(a, number), before, 0);
  return true;
}

bool is_on_alternate(const thread& t, std::uintptr_t here) noexcept {
  const auto low = reinterpret_cast<std::uintptr_t>(t.alternate.ss_sp);
  return !(t.alternate.ss_flags & SS_DISABLE) && here > low && here - low <= t.alternate.ss_size;
}

std::uintptr_t alternate_for(const thread& t, unsigned long flags, std::uintptr_t here) noexcept {
  if (!(flags & SA_ONSTACK) || (t.alternate.ss_flags & SS_DISABLE) || is_on_alternate(t, here)) return 0;
  return (reinterpret_cast<std::uintptr_t>(t.alternate.ss_sp) + t.alternate.ss_size) & ~std::uintptr_t{15};
}

long change_alternate(thread& me, const stack_t& wanted, std::uintptr_t here) noexcept {
  if (!(me.alternate.ss_flags & disarms_itself) && is_on_alternate(me, here)) return -EPERM;
  if (wanted.ss_flags & ~(SS_DISABLE | SS_ONSTACK | disarms_itself)) return -EINVAL;
  if (wanted.ss_flags & SS_DISABLE) {
    me.alternate = no_stack;
    return 0;
  }
  if (wanted.ss_size < 2048) return -ENOMEM;  // MINSIGSTKSZ
  me.alternate = {wanted.ss_sp, wanted.ss_flags & disarms_itself, wanted.ss_size};
  return 0;
}

}  // namespace bide::core
