// Processes that a preloaded program makes.
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>

#include "asm/trap.h"
#include "lib/call/attempt.hpp"
#include "lib/call/descriptor.hpp"
#include "lib/call/families.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/fork.hpp"
#include "lib/sched/monitor.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sched/spare_stack.hpp"
#include "lib/sched/standing.hpp"

namespace bide::call {
namespace {

// The child of a fork has the thread that called and no other, and starts its runtime anew.
void begin_child(std::uint32_t* clear_tid) noexcept {
  context::mend_thread_pointer();  // it has the FS that the kernel was told
  core::worker_core& mine = *core::this_worker();
  core::thread& me = *core::this_thread();
  core::carriers_after_fork(mine);
  core::monitor_after_fork();
  core::threads_after_fork(me);
  core::standing_after_fork(me);
  stacks_after_fork();
  me.clear_tid = clear_tid;
  core::after_fork_in_child();
  core::signals_after_fork(me);
}

core::signal_set mask_for_kernel(const core::thread& me) noexcept {
  return me.mask.load(std::memory_order_relaxed) & ~core::unblockable;
}

long fork_now(long flags, long parent_tid, long child_tid) noexcept {
  // The child's signals are the thread's alone: none comes to it that the thread blocks.
  const core::signal_set mask = mask_for_kernel(*core::this_thread()) & ~core::mended;
  core::signal_set before = 0;
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof mask);
  core::before_fork();
  const long pid = sys::raw(SYS_clone, flags, 0, parent_tid, child_tid, 0);
  core::after_fork();
  if (pid == 0) {
    begin_child(flags & CLONE_CHILD_CLEARTID ? reinterpret_cast<std::uint32_t*>(child_tid) : nullptr);
  } else {
    sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  }
  return pid;
}

// The child runs on the caller's memory until it execs: its doors are closed, and its kernel mask is the thread's.
[[noreturn]] void tail_call(core::thread& me) noexcept {
  const core::signal_set mask = mask_for_kernel(me);
  greg_t* const registers = me.registers;
  io::all_fds_shared();
  core::this_worker()->signalled.store(1, std::memory_order_relaxed);  // what came meanwhile is looked for
  core::lend_for_tail(mask);
  core::leave_spare_stack(me);
  bide_gate_tail(registers);
}

}  // namespace

long clone_process(long flags, long stack, long parent_tid, long child_tid, long) {
  core::thread& me = *core::this_thread();
  if ((flags & CLONE_VM) == 0 && !stack) return fork_now(flags, parent_tid, child_tid);
  if ((flags & CLONE_VFORK) && me.registers) tail_call(me);
  return -EINVAL;  // a process that shares memory and runs beside us could not be served
}

long fork_call(long, long, long, long, long, long) { return fork_now(SIGCHLD, 0, 0); }

long vfork_call(long, long, long, long, long, long) {
  core::thread& me = *core::this_thread();
  if (!me.registers) return fork_now(SIGCHLD, 0, 0);
  tail_call(me);
}

namespace {

// The new image begins with the thread's mask and affinity, and the actions the kernel has; a failure leaves all as it was.
long exec_now(long nr, long a, long b, long c, long d, long e) noexcept {
  const core::thread& me = *core::this_thread();
  const core::signal_set mask = mask_for_kernel(me);
  core::signal_set before = 0;
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof mask);
  core::stand_as(me);
  const long error = sys::raw(nr, a, b, c, d, e);
  core::stand_as_before(me);
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  return error;
}

}  // namespace

long execve_call(long path, long arguments, long environment, long, long, long) {
  return exec_now(SYS_execve, path, arguments, environment, 0, 0);
}

long execveat_call(long folder, long path, long arguments, long environment, long flags, long) {
  return exec_now(SYS_execveat, folder, path, arguments, environment, flags);
}

}  // namespace bide::call
