#include "lib/door/interrupt.hpp"

#include <string.h>
#include <ucontext.h>

#include "asm/trap.h"
#include "lib/base/race.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
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

// Where the stack has no room for a signal's frame the kernel makes a SIGSEGV of the signal, which looks like that of an
// address that can't be one. If a tick is missing, the instruction is tried once more: the program's own fault comes again.
bool was_tick_without_room(const siginfo_t& info) noexcept {
  std::atomic<std::uint32_t>& missing = context::this_block().ticks_sent;
  if (info.si_signo != SIGSEGV || info.si_code != SI_KERNEL || !missing.load(std::memory_order_relaxed)) return false;
  missing.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

// The runtime looks for what came as it leaves, or before it waits.
void tell_runtime(context::carrier_block& block, core::worker_core* w, ucontext_t& u) noexcept {
  block.signalled.store(1, std::memory_order_seq_cst);
  if (w) w->signalled.store(1, std::memory_order_seq_cst);
  stop_call_before_it_waits(u);
}

// A thread that computes has had its slice: others run first, if there are any.
void preempt(core::worker_core& w) noexcept {
  core::thread& me = *core::this_thread();
  core::make_ready(w, me);
  core::switch_to(w, me, w.loop);
}

// Back in the program by the kernel's rt_sigreturn, which restores the kernel thread's mask and alternate stack from the
// frame: they are to be those of the kernel thread that carries the worker by now.
void mend_frame(ucontext_t& u) noexcept {
  const core::signal_set mask = core::mask_of_carrier(core::this_worker());
  memcpy(&u.uc_sigmask, &mask, sizeof mask);
  sys::raw(SYS_sigaltstack, nullptr, &u.uc_stack);
}

// The thread that faulted handles it where it stands, whatever it blocks: it can't go on otherwise.
void handle_fault(core::thread& me, int number, siginfo_t* info, ucontext_t& u) {
  const core::signal_action a = core::action_of(number);
  const core::signal_set before = me.mask.load(std::memory_order_relaxed);
  const bool handled = a.function != reinterpret_cast<void*>(SIG_DFL) && a.function != reinterpret_cast<void*>(SIG_IGN);
  if (!handled || (before & core::signal_bit(number))) {
    const core::signal_action standard;
    sys::raw(SYS_rt_sigaction, number, &standard, nullptr, sizeof(core::signal_set));
    return;  // to the instruction again, to die of it
  }
  if (a.flags & SA_RESETHAND) {
    const core::signal_action standard;
    core::change_action(number, &standard, nullptr);
  }
  core::set_mask(me, before | a.mask | (a.flags & SA_NODEFER ? 0 : core::signal_bit(number)));
  memcpy(&u.uc_sigmask, &before, sizeof before);
  context::this_block().inside = 0;
  ++me.handlers;
  reinterpret_cast<void (*)(int, siginfo_t*, void*)>(a.function)(number, info, &u);
  --me.handlers;
  context::this_block().inside = 1;
  core::signal_set after = 0;
  memcpy(&after, &u.uc_sigmask, sizeof after);
  core::set_mask(me, after);
}

}  // namespace

void on_signal(int number, siginfo_t* info, void* context) {
  auto& u = *static_cast<ucontext_t*>(context);
  if (number == SIGSEGV && info->si_code > 0 && context::mend_thread_pointer()) return;  // a real fault comes again
  if (was_tick_without_room(*info)) return tell_runtime(context::this_block(), core::this_worker(), u);
  if (ends_copy(number, u)) return;
  core::back_from_tail();
  context::carrier_block& block = context::this_block();
  core::worker_core* w = core::this_worker();
  if (w && (!block.inside || !base::kept(base::protection::inside)) && w->current != &w->loop) {
    block.inside = 1;
    core::open_to_signals(*w);
    core::thread& me = *core::this_thread();
    if (is_fault(*info)) {
      handle_fault(me, number, info, u);
    } else {
      if (is_tick(*info)) {
        preempt(*w);
      } else {
        core::note_signal(*info);
      }
      core::worker_core& here = *core::this_worker();
      core::route_signals(here);
      if (core::has_deliverable(me)) core::run_handlers(me, u);
    }
    // What came meanwhile was noted only.
    for (;;) {
      context::carrier_block& now = context::this_block();
      now.inside = 0;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      core::worker_core& mine = *core::this_worker();
      if (!mine.signalled.load(std::memory_order_relaxed) && !core::has_deliverable(me)) break;
      now.inside = 1;
      core::route_signals(mine);
      if (core::has_deliverable(me)) core::run_handlers(me, u);
    }
    return mend_frame(u);
  }
  if (is_fault(*info)) {
    // In the runtime itself, by a bad pointer of the program's: as it would have died.
    const core::signal_action standard;
    sys::raw(SYS_rt_sigaction, number, &standard, nullptr, sizeof(core::signal_set));
    return;
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

extern "C" void bide_on_tick(int number, siginfo_t* info, void* context) { bide::door::on_signal(number, info, context); }
