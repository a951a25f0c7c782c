#include "lib/call/table.hpp"

#include <sys/syscall.h>

#include <array>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"

namespace bide::call {
namespace {

#ifndef BIDE_PRELOAD
template <long nr>
long from_disk(long a, long b, long c, long d, long e, long f) {
  return disk_call(nr, a, b, c, d, e, f);
}
template <long nr>
long elsewhere(long a, long b, long c, long d, long e, long f) {
  return offloaded("the kernel", -1, restarts::no, nr, a, b, c, d, e, f);
}
#endif

constexpr auto standard = [] {
  std::array<function, numbers> t{};
  t[SYS_read] = read_call;
  t[SYS_readv] = readv_call;
  t[SYS_write] = write_call;
  t[SYS_writev] = writev_call;
  t[SYS_recvfrom] = recvfrom_call;
  t[SYS_sendto] = sendto_call;
  t[SYS_recvmsg] = recvmsg_call;
  t[SYS_sendmsg] = sendmsg_call;
  t[SYS_recvmmsg] = recvmmsg_call;
  t[SYS_sendmmsg] = sendmmsg_call;
  t[SYS_accept] = accept_call;
  t[SYS_accept4] = accept4_call;
  t[SYS_connect] = connect_call;
  t[SYS_poll] = poll_call;
  t[SYS_ppoll] = ppoll_call;
  t[SYS_select] = select_call;
  t[SYS_pselect6] = pselect6_call;
  t[SYS_epoll_wait] = epoll_wait_call;
  t[SYS_epoll_pwait] = epoll_pwait_call;
  t[SYS_epoll_pwait2] = epoll_pwait2_call;
  t[SYS_nanosleep] = nanosleep_call;
  t[SYS_sched_yield] = sched_yield_call;
  t[SYS_clock_nanosleep] = clock_nanosleep_call;
  t[SYS_wait4] = wait4_call;
  t[SYS_waitid] = waitid_call;
  t[SYS_close] = close_call;
  t[SYS_close_range] = close_range_call;
  t[SYS_dup] = dup_call;
  t[SYS_dup2] = dup2_call;
  t[SYS_dup3] = dup3_call;
  t[SYS_fcntl] = fcntl_call;
  t[SYS_ioctl] = ioctl_call;
  t[SYS_setsockopt] = setsockopt_call;
  t[SYS_shutdown] = shutdown_call;
  t[SYS_socket] = socket_call;
  t[SYS_socketpair] = socketpair_call;
  t[SYS_pipe] = pipe_call;
  t[SYS_pipe2] = pipe2_call;
  t[SYS_preadv2] = preadv2_call;
  t[SYS_pwritev2] = pwritev2_call;
  t[SYS_splice] = splice_call;
  t[SYS_tee] = tee_call;
  t[SYS_vmsplice] = vmsplice_call;
  t[SYS_sendfile] = sendfile_call;
  t[SYS_semop] = semop_call;
  t[SYS_semtimedop] = semtimedop_call;
  t[SYS_msgsnd] = msgsnd_call;
  t[SYS_msgrcv] = msgrcv_call;
  t[SYS_mq_timedsend] = mq_timedsend_call;
  t[SYS_mq_timedreceive] = mq_timedreceive_call;
  t[SYS_flock] = flock_call;
  t[SYS_getrandom] = getrandom_call;
  t[SYS_futex] = futex_call;
  t[SYS_pause] = pause_call;
  t[SYS_rt_sigsuspend] = rt_sigsuspend_call;
  t[SYS_rt_sigtimedwait] = rt_sigtimedwait_call;
#ifndef BIDE_PRELOAD
  // A preloaded program's calls that have no entry leave their worker to others when they take long: sched/carrier.
  t[SYS_open] = open_call;
  t[SYS_creat] = creat_call;
  t[SYS_openat] = openat_call;
  t[SYS_openat2] = openat2_call;
  t[SYS_pread64] = from_disk<SYS_pread64>;
  t[SYS_preadv] = from_disk<SYS_preadv>;
  t[SYS_pwrite64] = from_disk<SYS_pwrite64>;
  t[SYS_pwritev] = from_disk<SYS_pwritev>;
  t[SYS_copy_file_range] = from_disk<SYS_copy_file_range>;
  t[SYS_fsync] = from_disk<SYS_fsync>;
  t[SYS_fdatasync] = from_disk<SYS_fdatasync>;
  t[SYS_sync_file_range] = from_disk<SYS_sync_file_range>;
  t[SYS_syncfs] = from_disk<SYS_syncfs>;
  t[SYS_sync] = from_disk<SYS_sync>;
  t[SYS_msync] = from_disk<SYS_msync>;
  t[SYS_fallocate] = from_disk<SYS_fallocate>;
  t[SYS_truncate] = from_disk<SYS_truncate>;
  t[SYS_ftruncate] = from_disk<SYS_ftruncate>;
  t[SYS_readahead] = from_disk<SYS_readahead>;
  t[SYS_io_getevents] = elsewhere<SYS_io_getevents>;
  t[SYS_io_pgetevents] = elsewhere<SYS_io_pgetevents>;
  t[SYS_futex_waitv] = elsewhere<SYS_futex_waitv>;
  t[SYS_request_key] = elsewhere<SYS_request_key>;
  t[SYS_rt_sigaction] = rt_sigaction_call;
  t[SYS_rt_sigprocmask] = rt_sigprocmask_call;
  t[SYS_prctl] = prctl_call;
#endif
  t[SYS_io_uring_setup] = io_uring_setup_call;
  t[SYS_io_uring_enter] = io_uring_enter_call;
#ifdef BIDE_PRELOAD
  t[SYS_clone] = clone_call;
  t[SYS_clone3] = clone3_call;
  t[SYS_exit] = exit_call;
  t[SYS_exit_group] = exit_group_call;
  t[SYS_gettid] = gettid_call;
  t[SYS_set_tid_address] = set_tid_address_call;
  t[SYS_set_robust_list] = set_robust_list_call;
  t[SYS_get_robust_list] = get_robust_list_call;
  t[SYS_rseq] = rseq_call;
  t[SYS_arch_prctl] = arch_prctl_call;
  t[SYS_prctl] = prctl_call;
  t[SYS_clock_gettime] = clock_gettime_call;
  t[SYS_setuid] = setuid_call;
  t[SYS_setgid] = setgid_call;
  t[SYS_setreuid] = setreuid_call;
  t[SYS_setregid] = setregid_call;
  t[SYS_setresuid] = setresuid_call;
  t[SYS_setresgid] = setresgid_call;
  t[SYS_setgroups] = setgroups_call;
  t[SYS_sched_setaffinity] = sched_setaffinity_call;
  t[SYS_sched_getaffinity] = sched_getaffinity_call;
  t[SYS_sched_setscheduler] = sched_setscheduler_call;
  t[SYS_sched_getscheduler] = sched_getscheduler_call;
  t[SYS_sched_setparam] = sched_setparam_call;
  t[SYS_sched_getparam] = sched_getparam_call;
  t[SYS_sched_rr_get_interval] = sched_rr_get_interval_call;
  t[SYS_sched_setattr] = sched_setattr_call;
  t[SYS_sched_getattr] = sched_getattr_call;
  t[SYS_setpriority] = setpriority_call;
  t[SYS_getpriority] = getpriority_call;
  t[SYS_ioprio_set] = ioprio_set_call;
  t[SYS_ioprio_get] = ioprio_get_call;
  t[SYS_kill] = kill_call;
  t[SYS_rt_sigqueueinfo] = rt_sigqueueinfo_call;
  t[SYS_getpgid] = getpgid_call;
  t[SYS_setpgid] = setpgid_call;
  t[SYS_getsid] = getsid_call;
  t[SYS_prlimit64] = prlimit64_call;
  t[SYS_kcmp] = kcmp_call;
  t[SYS_process_vm_readv] = process_vm_readv_call;
  t[SYS_process_vm_writev] = process_vm_writev_call;
  t[SYS_pidfd_open] = pidfd_open_call;
  t[SYS_capget] = capget_call;
  t[SYS_capset] = capset_call;
  t[SYS_fork] = fork_call;
  t[SYS_vfork] = vfork_call;
  t[SYS_execve] = execve_call;
  t[SYS_execveat] = execveat_call;
  t[SYS_rt_sigaction] = rt_sigaction_call;
  t[SYS_rt_sigprocmask] = rt_sigprocmask_call;
  t[SYS_rt_sigpending] = rt_sigpending_call;
  t[SYS_tgkill] = tgkill_call;
  t[SYS_tkill] = tkill_call;
  t[SYS_rt_tgsigqueueinfo] = rt_tgsigqueueinfo_call;
  t[SYS_sigaltstack] = sigaltstack_call;
  t[SYS_timer_create] = timer_create_call;
  t[SYS_timer_delete] = timer_delete_call;
  t[SYS_mmap] = mmap_call;
  t[SYS_mprotect] = mprotect_call;
  t[SYS_munmap] = munmap_call;
  t[SYS_madvise] = madvise_call;
  t[SYS_mremap] = mremap_call;
  t[SYS_shmat] = shmat_call;
#endif
  return t;
}();

constinit std::array<function, numbers> current = standard;

constexpr auto waiting = [] {
  std::array<bool, numbers> t{};
  for (const long nr : {SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_recvfrom, SYS_sendto, SYS_recvmsg, SYS_sendmsg,
                        SYS_recvmmsg, SYS_sendmmsg, SYS_accept, SYS_accept4, SYS_connect, SYS_poll, SYS_ppoll,
                        SYS_select, SYS_pselect6, SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_nanosleep,
                        SYS_clock_nanosleep, SYS_wait4, SYS_waitid, SYS_preadv2, SYS_pwritev2, SYS_splice, SYS_tee,
                        SYS_vmsplice, SYS_sendfile, SYS_semop, SYS_semtimedop, SYS_msgsnd, SYS_msgrcv,
                        SYS_mq_timedsend, SYS_mq_timedreceive, SYS_flock, SYS_getrandom})
    t[static_cast<std::size_t>(nr)] = true;
  return t;
}();

#ifdef BIDE_PRELOAD
// As `waiting`, without what is wrapped.
constinit std::array<bool, numbers> left_to_kernel = waiting;
#endif

}  // namespace

#ifdef BIDE_PRELOAD
bool only_waits(long nr) noexcept { return nr >= 0 && nr < numbers && left_to_kernel[static_cast<std::size_t>(nr)]; }
#endif

bool may_wait(long nr) noexcept {
  if (nr < 0 || nr >= numbers) return false;
  if (waiting[static_cast<std::size_t>(nr)]) return true;
  switch (nr) {
    case SYS_futex: case SYS_futex_waitv: case SYS_pause: case SYS_rt_sigsuspend: case SYS_rt_sigtimedwait: case SYS_fcntl:
    case SYS_ioctl: case SYS_open: case SYS_creat: case SYS_openat: case SYS_openat2: case SYS_pread64: case SYS_preadv:
    case SYS_pwrite64: case SYS_pwritev: case SYS_copy_file_range: case SYS_fsync: case SYS_fdatasync:
    case SYS_sync_file_range: case SYS_syncfs: case SYS_sync: case SYS_msync: case SYS_fallocate: case SYS_truncate:
    case SYS_ftruncate: case SYS_readahead: case SYS_io_getevents: case SYS_io_pgetevents: case SYS_io_uring_enter:
    case SYS_request_key: case SYS_sched_yield:
      return true;
    default: return false;
  }
}

function entry(long nr) noexcept {
  return nr >= 0 && nr < numbers ? __atomic_load_n(&current[static_cast<std::size_t>(nr)], __ATOMIC_RELAXED) : nullptr;
}

function standard_entry(long nr) noexcept { return standard[static_cast<std::size_t>(nr)]; }

void wrap_entry(long nr, function f) noexcept {
  const auto at = static_cast<std::size_t>(nr);
  __atomic_store_n(&current[at], f, __ATOMIC_RELEASE);
#ifdef BIDE_PRELOAD
  __atomic_store_n(&left_to_kernel[at], false, __ATOMIC_RELEASE);
#endif
}

void unwrap_entry(long nr) noexcept {
  const auto at = static_cast<std::size_t>(nr);
#ifdef BIDE_PRELOAD
  __atomic_store_n(&left_to_kernel[at], waiting[at], __ATOMIC_RELEASE);
#endif
  __atomic_store_n(&current[at], standard[at], __ATOMIC_RELEASE);
}

long next_entry(long nr) noexcept {
  while (++nr < numbers) {
    if (current[static_cast<std::size_t>(nr)]) return nr;
  }
  return -1;
}

}  // namespace bide::call
