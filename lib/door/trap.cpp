#include "lib/door/trap.hpp"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "asm/trap.h"
#include "lib/call/serve.hpp"
#include "lib/door/dispatch.hpp"
#include "lib/door/interrupt.hpp"
#include "lib/door/patch.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/spare_stack.hpp"
#include "lib/sys/raw.hpp"

extern "C" {
unsigned long bide_vector_bytes = 0;
}

namespace bide::door {
namespace {

bool goes_on_from_registers(long nr) noexcept {
  return nr == SYS_clone || nr == SYS_clone3 || nr == SYS_vfork;
}

void fill_from_registers(ucontext_t& to, const void* from) {
  memcpy(to.uc_mcontext.gregs, from, sizeof to.uc_mcontext.gregs);
}

// A frame of the program's own, by which the kernel thread is to lose no stack of ours.
void keep_signal_stack(const greg_t* g) noexcept {
  auto& frame = *reinterpret_cast<ucontext_t*>(g[REG_RSP]);
  const stack_t ours = core::signal_stack_here();
  bide_copy(&frame.uc_stack, &ours, sizeof ours);
}

void on_trap(int number, siginfo_t* info, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  greg_t* const g = u.uc_mcontext.gregs;
  if (info->si_code != sys_user_dispatch) {
    chain(core::action_of(SIGSYS), number, info, context);
    u.uc_stack = core::signal_stack_here();
    return;
  }
  if (g[REG_RAX] == SYS_rt_sigreturn) {
    keep_signal_stack(g);
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
  core::thread& me = *core::this_thread();
  core::overflow_here(me);
  context::this_block().inside = 1;
  core::with_enough_stack(me, [&] {
    greg_t* const outer = me.registers;
    me.registers = g;
    note_trap(me);
    if (g[REG_RAX] == SYS_clone3 || g[REG_RAX] == SYS_clone) adopt_float_control(u);
    g[REG_RAX] = call::serve(request_of(g), &u, nullptr, nullptr);
    me.registers = outer;
    call::leave(me, &u, nullptr, nullptr);
  });
  bide_resume(g, u.uc_mcontext.fpregs);
}

}  // namespace

int open_trap() noexcept {
  // x87, SSE, AVX, AVX-512: what libc's code uses between a call and its return.
  bide_vector_mask = vector_state() & 0xe7;
  bide_vector_bytes = bide_vector_mask & 0xe0 ? 2816 : 1088;
  return handle_dispatch(on_trap, nullptr);
}

}  // namespace bide::door

// From asm/trap.S: a patched site.
extern "C" void bide_patched_call(greg_t* g) {
  using namespace bide;
  if (g[REG_RAX] == SYS_rt_sigreturn) {
    door::keep_signal_stack(g);
    g[REG_RCX] = reinterpret_cast<greg_t>(bide_gate_sigreturn);
    return;
  }
  core::back_from_tail();
  context::carrier_block& block = context::this_block();
  if (!block.worker || block.inside) {
    g[REG_RAX] = bide_gate(g[REG_RAX], g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9]);
    return;
  }
  core::thread& me = *core::this_thread();
  core::overflow_here(me);
  context::this_block().inside = 1;
  core::with_enough_stack(me, [&] {
    greg_t* const outer = me.registers;
    me.registers = g;
    // A child goes on from the registers; behind a site of syscall(2) itself there is no instruction any more.
    if (door::goes_on_from_registers(g[REG_RAX])) g[REG_RIP] = g[REG_RCX];
    g[REG_RAX] = call::serve(door::request_of(g), nullptr, door::fill_from_registers, g);
    me.registers = outer;
    call::leave(me, nullptr, door::fill_from_registers, g);
  });
}
