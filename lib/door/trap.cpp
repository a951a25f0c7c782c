#include "lib/door/trap.hpp"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "asm/trap.h"
#include "lib/call/serve.hpp"
#include "lib/door/interrupt.hpp"
#include "lib/door/patch.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sys/raw.hpp"

extern "C" {
unsigned bide_vector_mask = 0;
unsigned long bide_vector_bytes = 0;
}

namespace bide::door {
namespace {

constexpr int pr_set_syscall_user_dispatch = 59, dispatch_on = 1;  // prctl(2), Linux 5.11
constexpr int sys_user_dispatch = 2;                               // si_code of SIGSYS
constexpr unsigned long sa_restorer = 0x04000000;

// Read by the kernel at each call: 1 blocks. One byte for all kernel threads, because it never changes.
char selector = 1;

call::request request_of(const greg_t* g) noexcept {
  return {g[REG_RAX], g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9]};
}

bool goes_on_from_registers(long nr) noexcept {
  return nr == SYS_clone || nr == SYS_clone3 || nr == SYS_vfork;
}

void fill_from_registers(ucontext_t& to, const void* from) {
  memcpy(to.uc_mcontext.gregs, from, sizeof to.uc_mcontext.gregs);
}

// A new thread inherits how its maker rounds; a handler begins with the standard (signal(7)).
void adopt_float_control(const ucontext_t& u) noexcept {
  const auto& f = *u.uc_mcontext.fpregs;
  asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(f.mxcsr), "m"(f.cwd));
}

// SIGSYS of other origin: a seccomp filter's, or sent. The program's handler has it.
void chain(int number, siginfo_t* info, void* context) {
  const core::signal_action a = core::action_of(SIGSYS);
  if (a.function == reinterpret_cast<void*>(SIG_IGN)) return;
  if (a.function == reinterpret_cast<void*>(SIG_DFL)) {
    const core::signal_action standard;
    sys::raw(SYS_rt_sigaction, SIGSYS, &standard, nullptr, sizeof(core::signal_set));
    sys::raw(SYS_tgkill, sys::raw(SYS_getpid), sys::raw(SYS_gettid), SIGSYS);
    return;
  }
  reinterpret_cast<void (*)(int, siginfo_t*, void*)>(a.function)(number, info, context);
}

void on_trap(int number, siginfo_t* info, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  greg_t* const g = u.uc_mcontext.gregs;
  if (info->si_code != sys_user_dispatch) return chain(number, info, context);
  if (g[REG_RAX] == SYS_rt_sigreturn) {
    g[REG_RIP] = reinterpret_cast<greg_t>(bide_gate_sigreturn);
    return;
  }
  core::back_from_tail();
  context::carrier_block& block = context::this_block();
  if (!block.worker || block.inside) {
    // A call of libc's that the runtime itself made: a clock that needs the kernel.
    const call::request r = request_of(g);
    g[REG_RAX] = bide_gate(r.nr, r.a, r.b, r.c, r.d, r.e, r.f);
    return;
  }
  block.inside = 1;
  core::thread& me = *core::this_thread();
  greg_t* const outer = me.registers;
  me.registers = g;
  note_trap(me);
  if (g[REG_RAX] == SYS_clone3 || g[REG_RAX] == SYS_clone) adopt_float_control(u);
  g[REG_RAX] = call::serve(request_of(g), &u, nullptr, nullptr);
  me.registers = outer;
  call::leave(me, &u, nullptr, nullptr);
  bide_resume(g, u.uc_mcontext.fpregs);
}

}  // namespace

int arm_trap() noexcept {
  return static_cast<int>(sys::raw(SYS_prctl, pr_set_syscall_user_dispatch, dispatch_on, bide_gate_begin,
                                   bide_gate_end - bide_gate_begin, &selector));
}

int open_trap() noexcept {
  unsigned a, b, c, d;
  asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0xd), "c"(0));
  // x87, SSE, AVX, AVX-512: what libc's code uses between a call and its return (Intel SDM, volume 1, 13.1).
  bide_vector_mask = a & 0xe7;
  bide_vector_bytes = bide_vector_mask & 0xe0 ? 2816 : 1088;
  core::signal_action ours;
  ours.function = reinterpret_cast<void*>(on_trap);
  ours.flags = SA_SIGINFO | SA_NODEFER | sa_restorer;
  ours.restorer = reinterpret_cast<void*>(bide_gate_restorer);
  return static_cast<int>(sys::raw(SYS_rt_sigaction, SIGSYS, &ours, nullptr, sizeof(core::signal_set)));
}

}  // namespace bide::door

// From asm/trap.S: a patched site.
extern "C" void bide_patched_call(greg_t* g) {
  using namespace bide;
  if (g[REG_RAX] == SYS_rt_sigreturn) {
    g[REG_RCX] = reinterpret_cast<greg_t>(bide_gate_sigreturn);
    return;
  }
  core::back_from_tail();
  context::carrier_block& block = context::this_block();
  if (!block.worker || block.inside) {
    g[REG_RAX] = bide_gate(g[REG_RAX], g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9]);
    return;
  }
  block.inside = 1;
  core::thread& me = *core::this_thread();
  greg_t* const outer = me.registers;
  me.registers = g;
  // A child goes on from the registers; behind a site of syscall(2) itself there is no instruction any more.
  if (door::goes_on_from_registers(g[REG_RAX])) g[REG_RIP] = g[REG_RCX];
  g[REG_RAX] = call::serve(door::request_of(g), nullptr, door::fill_from_registers, g);
  me.registers = outer;
  call::leave(me, nullptr, door::fill_from_registers, g);
}
