// Threads of a preloaded program: clone makes a fiber, exit ends it, and what a thread may ask of itself is answered for
// the fiber.
#include <errno.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "asm/trap.h"
#include "lib/base/arena.hpp"
#include "lib/base/race.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/serve.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/credentials.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/monitor.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sched/standing.hpp"
#include "lib/sync/futex.hpp"

namespace bide::call {
namespace {

constexpr unsigned long thread_flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;

void (*before_second_thread)(core::thread&) noexcept = nullptr;

// The thread's first instructions, on its own stack: behind its maker's clone, with 0.
void begin_thread(void* registers) {
  leave(*core::this_thread(), nullptr, nullptr, nullptr);
  bide_resume(static_cast<greg_t*>(registers), nullptr);
}

void tell_joiners(core::thread& t) noexcept {
  if (!t.clear_tid) return;
  std::atomic_ref<std::uint32_t>(*t.clear_tid).store(0, std::memory_order_seq_cst);
  sync::futex_wake(*t.clear_tid, INT32_MAX);
  // Another process might wait for it too, unless it stands in libc's record of the thread.
  if (reinterpret_cast<std::uintptr_t>(t.clear_tid) - t.thread_pointer >= 4096)
    sys::raw(SYS_futex, t.clear_tid, FUTEX_WAKE, INT32_MAX);
}

// Its stack has been left: whoever joins it may reuse that now.
void after_end(core::fiber& f) noexcept {
  auto& t = static_cast<core::thread&>(f);
  base::race_point();
  if (base::kept(base::protection::end_last)) tell_joiners(t);
  core::free_thread(t);
}

long clone_thread(unsigned long flags, std::uintptr_t low, std::uintptr_t stack, int* parent_tid, int* child_tid, std::uintptr_t tls) noexcept {
  core::thread& me = *core::this_thread();
  if (!me.registers) return -EINVAL;
  if (before_second_thread && core::live_threads() == 1) before_second_thread(me);
  core::thread* t = core::make_thread();
  if (!t) return -EAGAIN;  // pthread_create(3): no resources
  t->thread_pointer = flags & CLONE_SETTLS ? tls : me.thread_pointer;
  core::adopt_mask(*t, me.mask.load(std::memory_order_relaxed));
  memcpy(t->comm, me.comm, sizeof t->comm);
  core::inherit_standing(*t, me);
  t->where.caller = reinterpret_cast<void*>(me.registers[REG_RIP]);
  t->id = t->tid;
  t->stack_low = low ? lowest_of_stack(low) : 0;

  std::uintptr_t at = (stack - 128 - sizeof(greg_t) * NGREG) & ~std::uintptr_t{63};
  auto* registers = reinterpret_cast<greg_t*>(at);
  memcpy(registers, me.registers, sizeof(greg_t) * NGREG);
  registers[REG_RAX] = 0;
  registers[REG_RSP] = static_cast<greg_t>(stack);

  t->frame = registers;
  t->body = begin_thread;
  t->stack.base = reinterpret_cast<char*>(at & ~std::uintptr_t{4095}) - 4 * context::page;
  const std::uint32_t tid = t->tid;
  if (flags & CLONE_PARENT_SETTID) *parent_tid = static_cast<int>(tid);
  if (flags & CLONE_CHILD_SETTID) *child_tid = static_cast<int>(tid);
  if (flags & CLONE_CHILD_CLEARTID) t->clear_tid = reinterpret_cast<std::uint32_t*>(child_tid);
  core::worker_core& mine = *core::this_worker();
  core::start_monitor();
  core::start_workers(*mine.runtime);
  core::worker_core& home = mine.runtime->least_loaded(mine, core::prefer::balance);
  (&home == &mine ? core::start_and_run : core::start)(*t, home, reinterpret_cast<char*>(at));
  return tid;
}

}  // namespace

void set_before_second_thread(void (*f)(core::thread&) noexcept) noexcept { before_second_thread = f; }

long clone_call(long flags, long stack, long parent_tid, long child_tid, long tls, long) {
  if ((static_cast<unsigned long>(flags) & thread_flags) == thread_flags)
    return clone_thread(static_cast<unsigned long>(flags), 0, static_cast<std::uintptr_t>(stack),
                        reinterpret_cast<int*>(parent_tid), reinterpret_cast<int*>(child_tid),
                        static_cast<std::uintptr_t>(tls));
  return clone_process(flags, stack, parent_tid, child_tid, tls);
}

long clone3_call(long arguments, long size, long, long, long, long) {
  clone_args a{};
  if (size < static_cast<long>(CLONE_ARGS_SIZE_VER0)) return -EINVAL;
  if (const long error = copy_in(&a, reinterpret_cast<void*>(arguments),
                                 std::min<std::size_t>(static_cast<std::size_t>(size), sizeof a)))
    return error;
  // libc falls back to clone for what is no plain thread.
  if ((a.flags & thread_flags) != thread_flags || (a.flags & CLONE_PIDFD) || a.set_tid_size || (a.flags & CLONE_INTO_CGROUP)) return -ENOSYS;
  return clone_thread(a.flags, a.stack, a.stack + a.stack_size, reinterpret_cast<int*>(a.parent_tid),
                      reinterpret_cast<int*>(a.child_tid), a.tls);
}

long exit_call(long status, long, long, long, long, long) {
  core::thread& me = *core::this_thread();
  if (core::live_threads() == 1) return exit_group_call(status, 0, 0, 0, 0, 0);
  if (me.robust) sync::release_robust_list(me.robust, me.tid);
  core::drop_mask(me);
  core::end_thread(me);
  siginfo_t ignored;
  while (core::take_pending(me, ~core::signal_set{0}, ignored)) {}
  if (!base::kept(base::protection::end_last)) tell_joiners(me);
  base::race_point();
  me.after_leaving = after_end;
  core::end_here(me);
}

// The kernel would see to it that other processes learn of the locks held here, if it knew the threads' ids.
long exit_group_call(long status, long, long, long, long, long) {
  core::any_thread([](core::thread& t, void*) {
    if (t.robust) sync::leave_robust_list(t.robust, t.tid);
    return false;
  }, nullptr);
  return bide_gate(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

long gettid_call(long, long, long, long, long, long) { return core::this_thread()->tid; }

long set_tid_address_call(long at, long, long, long, long, long) {
  core::thread& me = *core::this_thread();
  me.clear_tid = reinterpret_cast<std::uint32_t*>(at);
  return me.tid;
}

long set_robust_list_call(long head, long size, long, long, long, long) {
  if (size != 24) return -EINVAL;
  core::thread& me = *core::this_thread();
  me.robust = reinterpret_cast<robust_list_head*>(head);
  // The process may be killed: the kernel knows the main thread's id, and tells other processes of what it held.
  if (&me == core::main_thread() && sys::raw(SYS_gettid) == me.tid) sys::raw(SYS_set_robust_list, head, size);
  return 0;
}

long get_robust_list_call(long tid, long head, long size, long, long, long) {
  struct {
    robust_list_head* head;
  } found{};
  core::thread& me = *core::this_thread();
  const auto visit = [](core::thread& t, void* to) { *static_cast<robust_list_head**>(to) = t.robust; };
  if (!core::with_thread(tid ? static_cast<std::uint32_t>(tid) : me.tid, visit, &found.head)) return -ESRCH;
  const std::size_t bytes = 24;
  if (const long error = copy_out(reinterpret_cast<void*>(size), &bytes, sizeof bytes)) return error;
  return copy_out(reinterpret_cast<void*>(head), &found.head, sizeof found.head);
}

// Registered it would tell where one kernel thread runs; without, libc asks the kernel. 0, because libc aborts when a
// thread can't and the first could.
long rseq_call(long, long, long, long, long, long) { return 0; }

long arch_prctl_call(long code, long address, long, long, long, long) {
  constexpr long set_gs = 0x1001, set_fs = 0x1002, get_fs = 0x1003;
  core::thread& me = *core::this_thread();
  switch (code) {
    case set_fs:
      me.thread_pointer = static_cast<std::uintptr_t>(address);
      context::set_thread_pointer(me.thread_pointer);
      return 0;
    case get_fs: return copy_out(reinterpret_cast<void*>(address), &me.thread_pointer, sizeof me.thread_pointer);
    case set_gs: return -EPERM;  // the worker is found by it
    default: return bide_gate(SYS_arch_prctl, code, address, 0, 0, 0, 0);
  }
}

long prctl_call(long option, long a, long b, long c, long d, long) {
  constexpr long set_syscall_user_dispatch = 59;
  core::thread& me = *core::this_thread();
  switch (option) {
    case PR_SET_NAME: {
      char name[sizeof me.comm] = {};
      for (std::size_t i = 0; i + 1 < sizeof name; ++i) {
        if (const long error = copy_in(&name[i], reinterpret_cast<char*>(a) + i, 1)) return error;
        if (!name[i]) break;
      }
      memcpy(me.comm, name, sizeof name);
      if (core::main_thread() == &me) bide_gate(SYS_prctl, PR_SET_NAME, sys::word(name), 0, 0, 0, 0);
      return 0;
    }
    case PR_GET_NAME: return copy_out(reinterpret_cast<void*>(a), me.comm, sizeof me.comm);
    case PR_SET_TIMERSLACK: case PR_GET_TIMERSLACK: return timer_slack_call(option, a);
    case PR_SET_PDEATHSIG: case PR_GET_PDEATHSIG: return death_signal_call(option, a);
    case set_syscall_user_dispatch: return -EBUSY;
    default: return bide_gate(SYS_prctl, option, a, b, c, d, 0);
  }
}

namespace {

// A clock of a thread's CPU time: its own, or by a number made from its id (clock_gettime(2): ~tid << 3 | 6).
bool is_thread_clock(long clock, std::uint32_t& tid) noexcept {
  if (clock == CLOCK_THREAD_CPUTIME_ID) {
    tid = core::this_thread()->tid;
    return true;
  }
  const auto c = static_cast<clockid_t>(clock);
  if (c >= 0 || (c & 7) != 6) return false;
  tid = static_cast<std::uint32_t>(~(c >> 3));
  return tid == 0 || core::is_thread_id(tid);
}

// Ticks a second, measured since the start.
double tick_length() noexcept {
  static const std::uint64_t ticks = base::ticks();
  static const std::int64_t began = base::kernel_now();
  const std::uint64_t passed = base::ticks() - ticks;
  return passed < 1'000'000 ? 0.5 : static_cast<double>(base::kernel_now() - began) / static_cast<double>(passed);
}

}  // namespace

long clock_gettime_call(long clock, long at, long, long, long, long) {
  std::uint32_t tid;
  if (base::is_shown(static_cast<clockid_t>(clock))) {
    const timespec t = base::to_timespec(base::time_of(static_cast<clockid_t>(clock)));
    return copy_out(reinterpret_cast<void*>(at), &t, sizeof t);
  }
  if (!is_thread_clock(clock, tid)) return bide_gate(SYS_clock_gettime, clock, at, 0, 0, 0, 0);
  if (core::live_threads() == 1) return bide_gate(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, at, 0, 0, 0, 0);
  core::thread& me = *core::this_thread();
  std::uint64_t ticks = me.ticks + (base::ticks() - core::this_worker()->switched_at);
  if (tid != me.tid && tid != 0) {
    const auto visit = [](core::thread& t, void* to) { *static_cast<std::uint64_t*>(to) = t.ticks; };
    if (!core::with_thread(tid, visit, &ticks)) return -EINVAL;
  }
  const timespec t = base::to_timespec(static_cast<std::int64_t>(static_cast<double>(ticks) * tick_length()));
  return copy_out(reinterpret_cast<void*>(at), &t, sizeof t);
}

// libc has each of its threads make such a call: what they change is the kernel thread's.
#define BIDE_CREDENTIALS_CALL(name)                                                      \
  long name##_call(long a, long b, long c, long, long, long) {                           \
    const long answer = bide_gate(SYS_##name, a, b, c, 0, 0, 0);                         \
    if (answer == 0)                                                                     \
      core::note_credentials(*static_cast<core::carrier*>(core::this_worker()->carrier)); \
    return answer;                                                                       \
  }
BIDE_CREDENTIALS_CALL(setuid)
BIDE_CREDENTIALS_CALL(setgid)
BIDE_CREDENTIALS_CALL(setreuid)
BIDE_CREDENTIALS_CALL(setregid)
BIDE_CREDENTIALS_CALL(setresuid)
BIDE_CREDENTIALS_CALL(setresgid)
BIDE_CREDENTIALS_CALL(setgroups)

}  // namespace bide::call
