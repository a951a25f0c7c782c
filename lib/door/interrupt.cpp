#include "lib/door/interrupt.hpp"

#include <string.h>
#include <ucontext.h>

#include <utility>

#include "asm/trap.h"
#include "lib/base/arena.hpp"
#include "lib/base/assert.hpp"
#include "lib/base/race.hpp"
#include "lib/call/serve.hpp"
#include "lib/door/signal_frame.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/handlers.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/raw.hpp"

namespace bide::door {
namespace {

bool is_fault(const siginfo_t& info) noexcept {
  switch (info.si_signo) {
    case SIGSEGV: case SIGBUS: case SIGFPE: case SIGILL: case SIGTRAP: return info.si_code > 0;
    default: return false;
  }
}

// What one kernel thread of ours sends another, not a thread's timer.
bool is_tick(const siginfo_t& info) noexcept { return info.si_signo == core::tick_signal && info.si_code == SI_TKILL; }

// A bad pointer that the program gave to a call: the kernel would have said EFAULT.
bool ends_copy(int number, ucontext_t& u) noexcept {
  greg_t& rip = u.uc_mcontext.gregs[REG_RIP];
  if ((number != SIGSEGV && number != SIGBUS) || rip != reinterpret_cast<greg_t>(bide_copy_move)) return false;
  rip = reinterpret_cast<greg_t>(bide_copy_fault);
  return true;
}

// A call that has looked for signals and is about to wait in the kernel must not.
void stop_call_before_it_waits(ucontext_t& u) noexcept {
  greg_t& rip = u.uc_mcontext.gregs[REG_RIP];
  if (rip >= reinterpret_cast<greg_t>(bide_gate_wait) && rip <= reinterpret_cast<greg_t>(bide_gate_wait_last))
    rip = reinterpret_cast<greg_t>(bide_gate_wait_abort);
}

// The runtime looks for what came as it leaves, or before it waits.
void tell_runtime(context::carrier_block& block, core::worker_core* w, ucontext_t& u) noexcept {
  block.signalled.store(1, std::memory_order_seq_cst);
  if (w) w->signalled.store(1, std::memory_order_seq_cst);
  stop_call_before_it_waits(u);
}

// The parent of a vfork is back, and not in the program yet: it is now. A signal that was pending comes just there.
void finish_tail(ucontext_t& u) noexcept {
  greg_t* const g = u.uc_mcontext.gregs;
  const bool behind = g[REG_RIP] >= reinterpret_cast<greg_t>(bide_gate_tail_behind) &&
                      g[REG_RIP] <= reinterpret_cast<greg_t>(bide_gate_tail_last);
  if (!behind || g[REG_RAX] == 0) return;  // 0: the child
  context::carrier_block& block = context::this_block();
  block.returned = 1;
  g[REG_RIP] = static_cast<greg_t>(block.resume_at);
}

// Whose code the signal has interrupted, if it is the program's; null: the runtime's.
core::thread* interrupted_thread() noexcept {
  const context::carrier_block& block = context::this_block();
  if (core::tail_has_returned()) return static_cast<core::carrier*>(block.carrier)->tail_thread;
  const core::worker_core* w = core::this_worker();
  const bool inside = block.inside && base::kept(base::protection::inside);
  return w && !inside && w->current != &w->loop ? core::this_thread() : nullptr;
}

std::uintptr_t stack_pointer(const ucontext_t& u) noexcept {
  return static_cast<std::uintptr_t>(u.uc_mcontext.gregs[REG_RSP]);
}

// Below what the thread uses of its stack, or on its alternate one: where the kernel would put the frame of that handler.
std::uintptr_t place_for(const core::thread& me, const core::signal_action& a, const ucontext_t& u) noexcept {
  constexpr std::uintptr_t red_zone = 128;
  const std::uintptr_t alternate = core::alternate_for(me, a.flags, stack_pointer(u));
  return alternate ? alternate : stack_pointer(u) - red_zone;
}

// Back in the program by the kernel's rt_sigreturn, which restores the kernel thread's mask and alternate stack from the
// frame: they are to be those of the kernel thread that carries the worker by now. Closed to signals until then.
void back_to_program(ucontext_t& u) noexcept {
  const core::signal_set mask = core::mask_to_return_with(*core::this_worker());
  memcpy(&u.uc_sigmask, &mask, sizeof mask);
  u.uc_stack = core::signal_stack_here();
  context::this_block().inside = 0;
}

void leave_shelter(core::thread& me) noexcept { base::arena_free(std::exchange(me.shelter, nullptr)); }

// On the program's stack: the handlers of what is pending, and of what comes meanwhile.
void run_in_place(int, siginfo_t*, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  core::thread& me = *core::this_thread();
  leave_shelter(me);
  while (core::has_deliverable(me)) {
    core::open_to_signals(*core::this_worker());
    core::run_handlers(me, u);
    core::close_to_signals();
    core::route_closed(*core::this_worker());
  }
  back_to_program(u);
}

// To the instruction again, to die of it; a call isn't made again.
void die_of(int number, const ucontext_t& u) noexcept {
  const core::signal_action standard;
  sys::raw(SYS_rt_sigaction, number, &standard, nullptr, sizeof(core::signal_set));
  if (call::comes_from_call(u)) sys::raw(SYS_tgkill, sys::raw(SYS_getpid), sys::raw(SYS_gettid), number);
}

// On the program's stack: the handler of a fault.
void fault_in_place(int number, siginfo_t* info, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  context::this_block().inside = 1;
  if (core::tail_has_returned()) core::return_from_tail();
  core::thread& me = *core::this_thread();
  leave_shelter(me);
  core::open_to_signals(*core::this_worker());
  if (!core::handle_fault(me, *info, u)) die_of(number, u);
  core::close_to_signals();
  core::route_closed(*core::this_worker());
  run_in_place(number, info, context);
}

// Goes on in the fault's handler, if there is one that may run and room for it. Returns if the fault is deadly.
void handle_fault(const core::thread& me, const siginfo_t& info, const ucontext_t& u) noexcept {
  const core::signal_action a = core::action_of(info.si_signo);
  const bool blocked = me.mask.load(std::memory_order_relaxed) & core::signal_bit(info.si_signo);
  if (!core::is_handled(a) || blocked) return;
  if (signal_frame* f = copy_frame(place_for(me, a, u), u, info)) go_on_in(*f, fault_in_place);
}

// Goes on in the handler of what is pending, if there is one. Inside the runtime, closed to signals.
void handle_signals(core::thread& me, const siginfo_t& info, const ucontext_t& u) noexcept {
  core::signal_action a;
  if (!core::next_handled(me, a)) return;
  if (signal_frame* f = copy_frame(place_for(me, a, u), u, info)) go_on_in(*f, run_in_place);
  // As the kernel does where the stack has no room.
  siginfo_t overflow{};
  overflow.si_signo = SIGSEGV;
  overflow.si_code = SI_KERNEL;
  handle_fault(me, overflow, u);
  const core::signal_action standard;
  sys::raw(SYS_rt_sigaction, SIGSEGV, &standard, nullptr, sizeof(core::signal_set));
  sys::raw(SYS_tgkill, sys::raw(SYS_getpid), sys::raw(SYS_gettid), SIGSEGV);
}

// A thread that computes has had its slice: others run first, if there are any.
void preempt(core::worker_core& w) noexcept {
  core::thread& me = *core::this_thread();
  core::make_ready(w, me);
  core::switch_to(w, me, w.loop);
}

// On the kernel thread's own stack once more.
void out_of_shelter(int, siginfo_t*, void* context) {
  leave_shelter(*core::this_thread());
  back_to_program(*static_cast<ucontext_t*>(context));
}

// In its shelter a thread waits until it is to go on.
void in_shelter(int, siginfo_t* info, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  context::this_block().inside = 1;
  if (core::tail_has_returned()) core::return_from_tail();
  core::thread& me = *core::this_thread();
  core::worker_core& w = *core::this_worker();
  core::open_to_signals(w);
  if (is_tick(*info)) {
    preempt(w);
  } else {
    core::note_signal(*info);
  }
  core::close_to_signals();
  core::route_closed(*core::this_worker());
  handle_signals(me, *info, u);
  const stack_t here = core::signal_stack_here();
  signal_frame* f = copy_frame(reinterpret_cast<std::uintptr_t>(here.ss_sp) + here.ss_size, u, *info);
  BIDE_ASSERT(f, "a kernel thread's signal stack is gone");
  go_on_in(*f, out_of_shelter);
}

// A stack for what a thread must wait on that has not called us: of its own it may have none left, and what lies below its
// stack pointer is the program's. Returns when there is no memory.
void take_shelter(core::thread& me, const siginfo_t& info, const ucontext_t& u) noexcept {
  const std::size_t bytes = frame_bytes(u) + 8192;
  me.shelter = base::arena_allocate(bytes);
  if (!me.shelter) return;
  const std::uintptr_t top = reinterpret_cast<std::uintptr_t>(me.shelter) + bytes;
  if (signal_frame* f = copy_frame(top, u, info)) go_on_in(*f, in_shelter);
}

}  // namespace

void on_signal(int number, siginfo_t* info, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  if (number == SIGSEGV && info->si_code > 0 && context::mend_thread_pointer()) return;  // a real fault comes again
  if (ends_copy(number, u)) return;
  finish_tail(u);
  context::carrier_block& block = context::this_block();
  core::worker_core* w = core::this_worker();
  core::thread* const me = interrupted_thread();
  if (is_fault(*info)) {
    if (me) handle_fault(*me, call::as_natively(*info, u, *me), u);
    return die_of(number, u);  // in the runtime itself: by a bad pointer of the program's, as it would have died
  }
  if (me && (is_tick(*info) || core::tail_has_returned())) {
    take_shelter(*me, *info, u);
  } else if (me) {
    block.inside = 1;
    core::note_signal(*info);
    core::route_closed(*w);
    handle_signals(*me, *info, u);
    return back_to_program(u);
  }
  if (!is_tick(*info)) core::note_signal(*info);
  tell_runtime(block, w, u);
  if (is_tick(*info)) return;
  if (core::worker* zero = core::worker_at(0)) {
    zero->signalled.store(1, std::memory_order_seq_cst);  // pairs with rest(): seen before it sleeps, or rung after
    core::ring(*zero);
  }
}

}  // namespace bide::door
