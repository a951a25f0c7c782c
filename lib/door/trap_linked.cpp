// The trap door of linked programs: options::trap.
//
// A worker's kernel thread is armed while it runs the worker. What traps outside libc and on a fiber goes through the table,
// as by libc's names. The rest goes to the kernel as it is: libc knows its locks, streams and the resolver by the thread
// pointer, which a worker's fibers share, so two of them parked inside libc would be in the same ones together; and what
// waits there has doors by name.
#include <stdlib.h>
#include <string.h>

#include "asm/trap.h"
#include "lib/base/spin.hpp"
#include "lib/base/text.hpp"
#include "lib/call/border.hpp"
#include "lib/context/tools.hpp"
#include "lib/door/dispatch.hpp"
#include "lib/door/handlers.hpp"
#include "lib/door/whose_code.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/trapping.hpp"

namespace bide::door {
namespace {

std::atomic<std::uint32_t> lock{0};
unsigned opened = 0;  // guarded by lock: runtimes that have the door

long pass_as_it_is(const call::request& r) noexcept {
  const as_it_is mark;
  return call::pass(r);
}

void on_trap(int number, siginfo_t* info, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  greg_t* const g = u.uc_mcontext.gregs;
  if (info->si_code != sys_user_dispatch) return chain(call::action_for_sigsys(), number, info, context);
  if (g[REG_RAX] == SYS_rt_sigreturn) {
    sigdelset(&reinterpret_cast<ucontext_t*>(g[REG_RSP])->uc_sigmask, SIGSYS);
    g[REG_RIP] = reinterpret_cast<greg_t>(bide_gate_sigreturn);
    return;
  }
  const call::request r = request_of(g);
  // A handler that interrupts a fiber on its way to park or from there must not park it once more; bide_enter_handler() sees
  // to those that libbide-hook knows of, wherever they interrupt the runtime.
  const core::fiber* const me = core::this_fiber();
  const bool serves = me && !me->wait && !in_libc(static_cast<std::uintptr_t>(g[REG_RIP]));
  if (call::makes_process(r.nr)) {
    adopt_float_control(u);
    g[REG_RAX] = call::make_process(r, g, serves);
  } else {
    g[REG_RAX] = serves ? bide_call(r.nr, r.a, r.b, r.c, r.d, r.e, r.f) : pass_as_it_is(r);
  }
  bide_resume(g, u.uc_mcontext.fpregs);
}

// Why it can't be opened; null: it can.
const char* obstacle() noexcept {
  if (context::tools::present) return "bide is built with a sanitizer, whose own calls must not park";
  sys::signal_action now;
  sys::rt_sigaction(SIGSYS, nullptr, &now);
  if (now.function) return "the program uses SIGSYS itself";
  return dispatch_obstacle();
}

}  // namespace
}  // namespace bide::door

namespace bide::core {

namespace {

// Returns why it can't be; null: it is open.
const char* open_or_say_why() noexcept {
  const base::spin_guard guard(door::lock);
  if (!door::opened) {
    if (const char* why = door::obstacle()) return why;
    bide_vector_mask = door::vector_state();  // all that the kernel keeps in a signal's frame
    sys::signal_action before;
    if (door::handle_dispatch(door::on_trap, &before) != 0) return "SIGSYS can't be handled";
    call::take_sigsys(before);
  }
  ++door::opened;
  return nullptr;
}

}  // namespace

bool open_trap_door() noexcept {
  door::learn_code();
  const char* why = open_or_say_why();
  if (!why) return true;
  base::text t;
  (t << "bide: no trap door (options::trap): " << why << "; calls that pass libc's names block their worker\n").to_stderr();
  return false;
}

void close_trap_door() noexcept {
  const base::spin_guard guard(door::lock);
  if (--door::opened == 0) call::give_sigsys_back();
}

void arm_trap_door() noexcept {
  call::open_to_sigsys();
  const int error = door::arm_dispatch();
  if (!error) return;
  call::leave_sigsys();
  base::text t;
  (t << "bide: no trap door on a worker: the kernel refuses (error " << -error << ")\n").to_stderr();
}

void disarm_trap_door() noexcept {
  door::disarm_dispatch();
  call::leave_sigsys();
}

void trap_door_after_fork(bool goes_on) noexcept {
  door::lock.store(0, std::memory_order_relaxed);
  if (!door::opened) return;
  door::opened = goes_on ? 1 : 0;
  if (!goes_on) return call::give_sigsys_back();
  arm_trap_door();
}

}  // namespace bide::core
