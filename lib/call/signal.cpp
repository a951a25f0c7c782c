// Signals, as a preloaded program's threads ask for them.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/handlers.hpp"

namespace bide::call {
namespace {

using core::signal_set;

constexpr long set_size = sizeof(signal_set);

}  // namespace

long rt_sigaction_call(long number, long wanted, long before, long size, long, long) {
  if (size != set_size) return -EINVAL;
  core::signal_action now, was;
  if (wanted) {
    if (const long error = copy_in(&now, reinterpret_cast<void*>(wanted), sizeof now)) return error;
  }
  const long answer = core::change_action(static_cast<int>(number), wanted ? &now : nullptr, &was);
  if (answer || !before) return answer;
  return copy_out(reinterpret_cast<void*>(before), &was, sizeof was);
}

long rt_sigprocmask_call(long how, long wanted, long before, long size, long, long) {
  if (size != set_size) return -EINVAL;
  core::thread& me = *core::this_thread();
  const signal_set was = me.mask.load(std::memory_order_relaxed);
  if (wanted) {
    signal_set set = 0;
    if (const long error = copy_in(&set, reinterpret_cast<void*>(wanted), sizeof set)) return error;
    switch (how) {
      case SIG_BLOCK: set |= was; break;
      case SIG_UNBLOCK: set = was & ~set; break;
      case SIG_SETMASK: break;
      default: return -EINVAL;
    }
    core::set_mask(me, set);
    // What was noted while nobody took it: perhaps this one does now.
    if (core::noted() & ~set) core::this_worker()->signalled.store(1, std::memory_order_relaxed);
  }
  return before ? copy_out(reinterpret_cast<void*>(before), &was, sizeof was) : 0;
}

long rt_sigpending_call(long to, long size, long, long, long, long) {
  if (size > set_size || size < 0) return -EINVAL;
  core::thread& me = *core::this_thread();
  signal_set kernel = 0;
  sys::raw(SYS_rt_sigpending, &kernel, set_size);
  const signal_set all = (me.pending | core::noted() | kernel) & me.mask.load(std::memory_order_relaxed);
  return copy_out(reinterpret_cast<void*>(to), &all, static_cast<std::size_t>(size));
}

namespace {

// Parks until a signal is there for the thread.
long wait_for_signal(core::thread& me, const char* name, std::int64_t until) noexcept {
  while (!core::has_deliverable(me) && !(me.pending & me.awaited)) {
    if (me.awaited && (core::noted() & me.awaited)) return 0;
    if (core::live_threads() == 1 && !me.awaited) {
      // The kernel's own wait, under the mask that the kernel has by now.
      const long answer = core::call_kernel(SYS_pause, 0, 0, 0, 0, 0, 0);
      core::route_signals(*core::this_worker());
      if (answer != -EINTR) return answer;
      if (core::has_deliverable(me)) return 0;
      continue;
    }
    core::waiter w(core::waiter::reach::home);
    const wait_result how = core::park(w, {name, -1, true}, until, core::cancel_point::yes);
    me.interrupted = false;
    if (how == wait_result::cancelled) return -ECANCELED;
    if (how == wait_result::expired) return -ETIME;
    core::route_signals(*core::this_worker());
  }
  return 0;
}

}  // namespace

long rt_sigsuspend_call(long mask, long size, long, long, long, long) {
  if (size != set_size) return -EINVAL;
  signal_set set = 0;
  if (const long error = copy_in(&set, reinterpret_cast<void*>(mask), sizeof set)) return error;
  core::thread& me = *core::this_thread();
  core::borrow_mask(me, set);
  const long end = wait_for_signal(me, "sigsuspend", base::never);
  me.restartable = false;
  return end ? end : -EINTR;
}

long pause_call(long, long, long, long, long, long) {
  core::thread& me = *core::this_thread();
  const long end = wait_for_signal(me, "pause", base::never);
  me.restartable = false;
  return end ? end : -EINTR;
}

// Signals that every thread blocks stay with the kernel, so they are taken there too; a descriptor tells of them.
long rt_sigtimedwait_call(long wanted, long info, long timeout, long size, long, long) {
  if (size != set_size) return -EINVAL;
  signal_set set = 0;
  if (const long error = copy_in(&set, reinterpret_cast<void*>(wanted), sizeof set)) return error;
  set &= ~core::never_blocked;
  std::int64_t until = base::never;
  if (timeout) {
    timespec t;
    if (const long error = copy_in(&t, reinterpret_cast<void*>(timeout), sizeof t)) return error;
    if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= base::second) return -EINVAL;
    until = t.tv_sec > base::never / base::second - 1 ? base::never
                                                      : base::after(base::now(), t.tv_sec * base::second + t.tv_nsec);
  }
  core::thread& me = *core::this_thread();
  const long made = sys::raw(SYS_signalfd4, -1, &set, set_size, SFD_CLOEXEC | SFD_NONBLOCK);
  const int fd = made < 0 ? static_cast<int>(made) : io::adopt_own_fd(static_cast<int>(made));
  me.awaited = set;
  long answer = 0;
  while (!answer) {
    siginfo_t found;
    memset(&found, 0, sizeof found);
    int number = core::take_pending(me, set, found);
    if (!number) number = core::take_noted(set, found);
    if (!number) {
      const timespec none{};
      const long taken = sys::raw(SYS_rt_sigtimedwait, &set, &found, &none, set_size);
      if (taken > 0) number = static_cast<int>(taken);
    }
    if (number) {
      answer = info ? copy_out(reinterpret_cast<void*>(info), &found, sizeof found) : 0;
      if (!answer) answer = number;
      break;
    }
    if (base::now() >= until) {
      answer = -EAGAIN;
      break;
    }
    me.interrupted = false;
    const std::int64_t soon = fd >= 0 ? until : std::min(until, base::after(base::now(), 10'000'000));
    const long end = fd >= 0 ? core::this_worker()->reactor->wait(fd, readiness::readable, "sigtimedwait", soon)
                             : wait_for_signal(me, "sigtimedwait", soon);
    if (end == -ECANCELED) answer = end;
    core::route_signals(*core::this_worker());
    if (core::has_deliverable(me) && !(me.pending & set)) {
      me.restartable = false;
      answer = -EINTR;
    }
  }
  me.awaited = 0;
  me.interrupted = false;
  if (fd >= 0) {
    core::this_worker()->reactor->forget(fd);
    io::close_own_fd(fd);
  }
  return answer;
}

namespace {

siginfo_t sent_by_us(long number) noexcept {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = static_cast<int>(number);
  info.si_code = SI_TKILL;
  info.si_pid = static_cast<pid_t>(sys::raw(SYS_getpid));
  info.si_uid = static_cast<uid_t>(sys::raw(SYS_getuid));
  return info;
}

bool is_ours(long tid) noexcept {
  return core::with_thread(static_cast<std::uint32_t>(tid), [](core::thread&, void*) {}, nullptr);
}

}  // namespace

long tgkill_call(long group, long tid, long number, long, long, long) {
  if (number < 0 || number > core::signals || tid <= 0 || group <= 0) return -EINVAL;
  if (group == sys::raw(SYS_getpid)) {
    if (is_ours(tid)) return core::send_to_thread(static_cast<std::uint32_t>(tid), sent_by_us(number));
    return -ESRCH;
  }
  return sys::raw(SYS_tgkill, group, tid, number);
}

long tkill_call(long tid, long number, long, long, long, long) {
  if (number < 0 || number > core::signals || tid <= 0) return -EINVAL;
  if (is_ours(tid)) return core::send_to_thread(static_cast<std::uint32_t>(tid), sent_by_us(number));
  return sys::raw(SYS_tkill, tid, number);
}

long rt_tgsigqueueinfo_call(long group, long tid, long number, long info, long, long) {
  if (group != sys::raw(SYS_getpid) || !is_ours(tid)) return sys::raw(SYS_rt_tgsigqueueinfo, group, tid, number, info);
  siginfo_t given;
  if (const long error = copy_in(&given, reinterpret_cast<void*>(info), sizeof given)) return error;
  given.si_signo = static_cast<int>(number);
  return core::send_to_thread(static_cast<std::uint32_t>(tid), given);
}

long sigaltstack_call(long wanted, long before, long, long, long, long) {
  core::thread& me = *core::this_thread();
  constexpr int disarms_itself = static_cast<int>(1u << 31);  // SS_AUTODISARM: not on it while it is in use
  const auto here = me.registers ? static_cast<std::uintptr_t>(me.registers[REG_RSP]) : 0;
  stack_t was = me.alternate;
  if (!(was.ss_flags & disarms_itself) && core::is_on_alternate(me, here)) was.ss_flags |= SS_ONSTACK;
  if (wanted) {
    stack_t now;
    if (const long error = copy_in(&now, reinterpret_cast<void*>(wanted), sizeof now)) return error;
    if (const long error = core::change_alternate(me, now, here)) return error;
  }
  return before ? copy_out(reinterpret_cast<void*>(before), &was, sizeof was) : 0;
}

}  // namespace bide::call
