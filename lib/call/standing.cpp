// What a preloaded program asks about its threads by their ids, which the kernel doesn't know.
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/standing.hpp"
#include "lib/sched/threads.hpp"

namespace bide::call {
namespace {

using core::standing;

constexpr long io_priority_of_process = 1;  // IOPRIO_WHO_PROCESS

bool is_alive(long tid) noexcept {
  return core::with_thread(static_cast<std::uint32_t>(tid), [](core::thread&, void*) {}, nullptr);
}

// The id of a thread of ours by what a call was given, 0: the caller. 0: none of ours.
std::uint32_t ours(long tid) noexcept {
  if (tid == 0) return core::this_thread()->tid;
  return is_alive(tid) ? static_cast<std::uint32_t>(tid) : 0;
}

// `place`: which argument names the thread.
long change(long nr, int place, long a, long b, long c = 0, long d = 0) noexcept {
  long arguments[4] = {a, b, c, d};
  const std::uint32_t tid = ours(arguments[place]);
  if (tid && core::had_others()) return core::change_standing(tid, nr, arguments, place);
  if (tid) arguments[place] = 0;
  return sys::raw(nr, arguments[0], arguments[1], arguments[2], arguments[3]);
}

// The kernel looks at the arguments, and answers for a thread that has nothing of its own; `own` answers for one that has.
template <class Own>
long ask(long nr, int place, long a, long b, long c, long d, Own own) noexcept {
  long arguments[4] = {a, b, c, d};
  const std::uint32_t tid = ours(arguments[place]);
  if (tid) arguments[place] = 0;
  long answer = sys::raw(nr, arguments[0], arguments[1], arguments[2], arguments[3]);
  if (!tid || answer < 0) return answer;
  if (const standing* s = core::standing_of(tid)) {
    answer = own(*s, answer);
    core::let_go(s);
  }
  return answer;
}

}  // namespace

long sched_setaffinity_call(long tid, long size, long set, long, long, long) {
  return change(SYS_sched_setaffinity, 0, tid, size, set);
}
long sched_setscheduler_call(long tid, long policy, long parameter, long, long, long) {
  return change(SYS_sched_setscheduler, 0, tid, policy, parameter);
}
long sched_setparam_call(long tid, long parameter, long, long, long, long) {
  return change(SYS_sched_setparam, 0, tid, parameter);
}
long sched_setattr_call(long tid, long attributes, long flags, long, long, long) {
  return change(SYS_sched_setattr, 0, tid, attributes, flags);
}
long setpriority_call(long which, long who, long nice, long, long, long) {
  if (which != PRIO_PROCESS) return sys::raw(SYS_setpriority, which, who, nice);
  return change(SYS_setpriority, 1, which, who, nice);
}
long ioprio_set_call(long which, long who, long priority, long, long, long) {
  if (which != io_priority_of_process) return sys::raw(SYS_ioprio_set, which, who, priority);
  return change(SYS_ioprio_set, 1, which, who, priority);
}

long sched_getaffinity_call(long tid, long size, long set, long, long, long) {
  return ask(SYS_sched_getaffinity, 0, tid, size, set, 0, [&](const standing& s, long bytes) {
    const long error = copy_out(reinterpret_cast<void*>(set), s.cpus, static_cast<std::size_t>(bytes));
    return error ? error : bytes;
  });
}
long sched_getscheduler_call(long tid, long, long, long, long, long) {
  constexpr std::uint64_t reset_on_fork = 1;  // SCHED_FLAG_RESET_ON_FORK, here SCHED_RESET_ON_FORK
  return ask(SYS_sched_getscheduler, 0, tid, 0, 0, 0, [](const standing& s, long) {
    return static_cast<long>(s.how.policy | (s.how.flags & reset_on_fork ? 0x40000000 : 0));
  });
}
long sched_getparam_call(long tid, long parameter, long, long, long, long) {
  return ask(SYS_sched_getparam, 0, tid, parameter, 0, 0, [&](const standing& s, long) {
    return copy_out(reinterpret_cast<void*>(parameter), &s.how.priority, sizeof s.how.priority);
  });
}
long sched_getattr_call(long tid, long attributes, long size, long flags, long, long) {
  return ask(SYS_sched_getattr, 0, tid, attributes, size, flags, [&](const standing& s, long) {
    core::scheduling how = s.how;
    how.size = std::min(how.size, static_cast<std::uint32_t>(size));
    return copy_out(reinterpret_cast<void*>(attributes), &how, how.size);
  });
}
long sched_rr_get_interval_call(long tid, long at, long, long, long, long) {
  return ask(SYS_sched_rr_get_interval, 0, tid, at, 0, 0, [&](const standing& s, long) {
    return copy_out(reinterpret_cast<void*>(at), &s.slice, sizeof s.slice);
  });
}
long getpriority_call(long which, long who, long, long, long, long) {
  if (which != PRIO_PROCESS) return sys::raw(SYS_getpriority, which, who);
  return ask(SYS_getpriority, 1, which, who, 0, 0, [](const standing& s, long) { return 20L - s.nice; });
}
long ioprio_get_call(long which, long who, long, long, long, long) {
  if (which != io_priority_of_process) return sys::raw(SYS_ioprio_get, which, who);
  return ask(SYS_ioprio_get, 1, which, who, 0, 0, [](const standing& s, long) { return long{s.io_priority}; });
}

long timer_slack_call(long option, long ns) noexcept {
  core::thread& me = *core::this_thread();
  if (option == PR_GET_TIMERSLACK && me.timer_slack) return static_cast<long>(me.timer_slack);
  if (option == PR_GET_TIMERSLACK || !core::had_others()) return sys::raw(SYS_prctl, option, ns);
  me.timer_slack = ns > 0 ? static_cast<unsigned long>(ns) : 0;
  return 0;
}

// The kernel sends it to the process, whichever of its kernel threads asked; so that one goes on for good.
long death_signal_call(long option, long argument) noexcept {
  core::thread& me = *core::this_thread();
  if (option == PR_GET_PDEATHSIG) return copy_out(reinterpret_cast<void*>(argument), &me.death_signal, sizeof me.death_signal);
  if (argument == 0 && me.death_signal == 0) return 0;  // another thread may have one
  const long answer = sys::raw(SYS_prctl, option, argument);
  if (answer) return answer;
  me.death_signal = static_cast<int>(argument);
  if (core::had_others()) core::keep_kernel_thread();
  return 0;
}

namespace {

// Of the process as a whole, or of what all its threads share: any thread's id means it.
long as_process(long id) noexcept {
  return core::is_thread_id(id) && is_alive(id) ? sys::raw(SYS_getpid) : id;
}

}  // namespace

long kill_call(long id, long number, long, long, long, long) { return sys::raw(SYS_kill, as_process(id), number); }
long rt_sigqueueinfo_call(long id, long number, long info, long, long, long) {
  return sys::raw(SYS_rt_sigqueueinfo, as_process(id), number, info);
}
long getpgid_call(long id, long, long, long, long, long) { return sys::raw(SYS_getpgid, as_process(id)); }
long setpgid_call(long id, long group, long, long, long, long) {
  if (core::is_thread_id(id) && is_alive(id)) return -EINVAL;  // the kernel's answer where it isn't its process's first
  return sys::raw(SYS_setpgid, id, group);
}
long getsid_call(long id, long, long, long, long, long) { return sys::raw(SYS_getsid, as_process(id)); }
long prlimit64_call(long id, long what, long wanted, long before, long, long) {
  return sys::raw(SYS_prlimit64, as_process(id), what, wanted, before);
}
long kcmp_call(long one, long other, long what, long a, long b, long) {
  return sys::raw(SYS_kcmp, as_process(one), as_process(other), what, a, b);
}
long process_vm_readv_call(long id, long to, long to_count, long from, long from_count, long flags) {
  return core::call_kernel(SYS_process_vm_readv, as_process(id), to, to_count, from, from_count, flags);
}
long process_vm_writev_call(long id, long from, long from_count, long to, long to_count, long flags) {
  return core::call_kernel(SYS_process_vm_writev, as_process(id), from, from_count, to, to_count, flags);
}

// pidfd_open(2): a thread's id that isn't its process's is refused, and how depends on the kernel's version: a kernel thread
// of ours tells. With PIDFD_THREAD there is none to give.
long pidfd_open_call(long id, long flags, long, long, long, long) {
  if (!core::is_thread_id(id) || !is_alive(id)) return sys::raw(SYS_pidfd_open, id, flags);
  return flags ? -EINVAL : core::answer_for_thread(SYS_pidfd_open);
}

// capabilities(7) are the kernel thread's: the caller's own may be changed, by its id as well, and anybody's asked for.
long capget_call(long header, long data, long, long, long, long) {
  __user_cap_header_struct h;
  if (const long error = copy_in(&h, reinterpret_cast<void*>(header), sizeof h)) return error;
  if (!ours(h.pid) || h.pid == 0) return sys::raw(SYS_capget, header, data);
  h.pid = 0;
  const long answer = sys::raw(SYS_capget, &h, data);
  if (const long error = copy_out(reinterpret_cast<void*>(header), &h.version, sizeof h.version)) return error;
  return answer;
}
long capset_call(long header, long data, long, long, long, long) {
  __user_cap_header_struct h;
  if (const long error = copy_in(&h, reinterpret_cast<void*>(header), sizeof h)) return error;
  if (static_cast<std::uint32_t>(h.pid) != core::this_thread()->tid) return sys::raw(SYS_capset, header, data);
  h.pid = 0;
  const long answer = sys::raw(SYS_capset, &h, data);
  if (const long error = copy_out(reinterpret_cast<void*>(header), &h.version, sizeof h.version)) return error;
  return answer;
}

}  // namespace bide::call
