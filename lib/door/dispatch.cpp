#include "lib/door/dispatch.hpp"

#include <errno.h>

#include "asm/trap.h"
#include "lib/sys/features.hpp"

extern "C" {
unsigned bide_vector_mask = 0;
}

namespace bide::door {
namespace {

constexpr int pr_set_syscall_user_dispatch = 59, dispatch_off = 0, dispatch_on = 1;  // prctl(2), Linux 5.11

// Read by the kernel at each call: 1 blocks. One byte for all kernel threads, because it never changes.
char selector = 1;

}  // namespace

const char* dispatch_obstacle() noexcept {
  constexpr long shadow_stack_status = 0x5005;
  if (!sys::features().trap) return "BIDE_DISABLE says trap";
  unsigned long shadow_stack = 0;
  if (sys::raw(SYS_arch_prctl, shadow_stack_status, &shadow_stack) == 0 && (shadow_stack & 1))
    return "the program runs with a shadow stack (CET)";
  const long off = sys::raw(SYS_prctl, pr_set_syscall_user_dispatch, dispatch_off, 0, 0, 0);
  if (off == -EBUSY) return "libbide-preload.so serves this program already";
  return off == 0 ? nullptr : "this kernel has no Syscall User Dispatch (Linux 5.11)";
}

int arm_dispatch() noexcept {
  return static_cast<int>(sys::raw(SYS_prctl, pr_set_syscall_user_dispatch, dispatch_on, bide_gate_begin,
                                   bide_gate_end - bide_gate_begin, &selector));
}

void disarm_dispatch() noexcept { sys::raw(SYS_prctl, pr_set_syscall_user_dispatch, dispatch_off, 0, 0, 0); }

unsigned vector_state() noexcept {
  // Not by cpuid, which on a virtual machine costs tens of microseconds.
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

int handle_dispatch(void (*handler)(int, siginfo_t*, void*), sys::signal_action* before) noexcept {
  const sys::signal_action ours = sys::handler(handler, SA_SIGINFO | SA_NODEFER);
  return static_cast<int>(sys::rt_sigaction(SIGSYS, &ours, before));
}

void chain(const sys::signal_action& a, int number, siginfo_t* info, void* context) {
  if (a.function == reinterpret_cast<void*>(SIG_IGN)) return;
  if (a.function == reinterpret_cast<void*>(SIG_DFL)) {
    const sys::signal_action standard;
    sys::rt_sigaction(SIGSYS, &standard, nullptr);
    sys::raw(SYS_tgkill, sys::raw(SYS_getpid), sys::raw(SYS_gettid), SIGSYS);
    return;
  }
  reinterpret_cast<void (*)(int, siginfo_t*, void*)>(a.function)(number, info, context);
}

}  // namespace bide::door
