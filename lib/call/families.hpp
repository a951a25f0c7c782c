// The calls of each family, as the table lists them.
#pragma once

namespace bide::call {

#define BIDE_CALL(name) long name(long, long, long, long, long, long)

// transfer.cpp
BIDE_CALL(read_call);
BIDE_CALL(readv_call);
BIDE_CALL(write_call);
BIDE_CALL(writev_call);
BIDE_CALL(preadv2_call);
BIDE_CALL(pwritev2_call);
BIDE_CALL(recvfrom_call);
BIDE_CALL(sendto_call);

// message.cpp
BIDE_CALL(recvmsg_call);
BIDE_CALL(sendmsg_call);
BIDE_CALL(recvmmsg_call);
BIDE_CALL(sendmmsg_call);

// accept_connect.cpp
BIDE_CALL(accept_call);
BIDE_CALL(accept4_call);
BIDE_CALL(connect_call);

// readiness.cpp
BIDE_CALL(poll_call);
BIDE_CALL(ppoll_call);
BIDE_CALL(select_call);
BIDE_CALL(pselect6_call);
BIDE_CALL(epoll_wait_call);
BIDE_CALL(epoll_pwait_call);
BIDE_CALL(epoll_pwait2_call);

// time.cpp
BIDE_CALL(sched_yield_call);
BIDE_CALL(nanosleep_call);
BIDE_CALL(clock_nanosleep_call);

// splice.cpp
BIDE_CALL(splice_call);
BIDE_CALL(tee_call);
BIDE_CALL(vmsplice_call);
BIDE_CALL(sendfile_call);

// queue.cpp
BIDE_CALL(semop_call);
BIDE_CALL(semtimedop_call);
BIDE_CALL(msgsnd_call);
BIDE_CALL(msgrcv_call);
BIDE_CALL(mq_timedsend_call);
BIDE_CALL(mq_timedreceive_call);

// file.cpp
BIDE_CALL(flock_call);
BIDE_CALL(getrandom_call);
BIDE_CALL(open_call);
BIDE_CALL(creat_call);
BIDE_CALL(openat_call);
BIDE_CALL(openat2_call);

// futex.cpp
BIDE_CALL(futex_call);

// signal.cpp, await_signal.cpp
BIDE_CALL(pause_call);
BIDE_CALL(rt_sigsuspend_call);
BIDE_CALL(rt_sigtimedwait_call);

// wait.cpp
BIDE_CALL(wait4_call);
BIDE_CALL(waitid_call);

// descriptor.cpp
BIDE_CALL(close_call);
BIDE_CALL(close_range_call);
BIDE_CALL(dup_call);
BIDE_CALL(dup2_call);
BIDE_CALL(dup3_call);
BIDE_CALL(fcntl_call);
BIDE_CALL(ioctl_call);
BIDE_CALL(setsockopt_call);
BIDE_CALL(shutdown_call);
BIDE_CALL(socket_call);
BIDE_CALL(socketpair_call);
BIDE_CALL(pipe_call);
BIDE_CALL(pipe2_call);

// uring.cpp
BIDE_CALL(io_uring_setup_call);
BIDE_CALL(io_uring_enter_call);

#ifdef BIDE_PRELOAD
// thread.cpp
BIDE_CALL(clone_call);
BIDE_CALL(clone3_call);
BIDE_CALL(exit_call);
BIDE_CALL(exit_group_call);
BIDE_CALL(gettid_call);
BIDE_CALL(set_tid_address_call);
BIDE_CALL(set_robust_list_call);
BIDE_CALL(get_robust_list_call);
BIDE_CALL(rseq_call);
BIDE_CALL(arch_prctl_call);
BIDE_CALL(prctl_call);
BIDE_CALL(clock_gettime_call);
BIDE_CALL(setuid_call);
BIDE_CALL(setgid_call);
BIDE_CALL(setreuid_call);
BIDE_CALL(setregid_call);
BIDE_CALL(setresuid_call);
BIDE_CALL(setresgid_call);
BIDE_CALL(setgroups_call);

// standing.cpp
BIDE_CALL(sched_setaffinity_call);
BIDE_CALL(sched_getaffinity_call);
BIDE_CALL(sched_setscheduler_call);
BIDE_CALL(sched_getscheduler_call);
BIDE_CALL(sched_setparam_call);
BIDE_CALL(sched_getparam_call);
BIDE_CALL(sched_rr_get_interval_call);
BIDE_CALL(sched_setattr_call);
BIDE_CALL(sched_getattr_call);
BIDE_CALL(setpriority_call);
BIDE_CALL(getpriority_call);
BIDE_CALL(ioprio_set_call);
BIDE_CALL(ioprio_get_call);
BIDE_CALL(kill_call);
BIDE_CALL(rt_sigqueueinfo_call);
BIDE_CALL(getpgid_call);
BIDE_CALL(setpgid_call);
BIDE_CALL(getsid_call);
BIDE_CALL(prlimit64_call);
BIDE_CALL(kcmp_call);
BIDE_CALL(process_vm_readv_call);
BIDE_CALL(process_vm_writev_call);
BIDE_CALL(pidfd_open_call);
BIDE_CALL(capget_call);
BIDE_CALL(capset_call);
long timer_slack_call(long option, long ns) noexcept;
long death_signal_call(long option, long argument) noexcept;

// child.cpp
BIDE_CALL(fork_call);
BIDE_CALL(vfork_call);
BIDE_CALL(execve_call);
BIDE_CALL(execveat_call);
long clone_process(long flags, long stack, long parent_tid, long child_tid, long tls);

// signal.cpp
BIDE_CALL(rt_sigaction_call);
BIDE_CALL(rt_sigprocmask_call);
BIDE_CALL(rt_sigpending_call);
BIDE_CALL(tgkill_call);
BIDE_CALL(tkill_call);
BIDE_CALL(rt_tgsigqueueinfo_call);
BIDE_CALL(sigaltstack_call);
BIDE_CALL(timer_create_call);
BIDE_CALL(timer_delete_call);

// memory.cpp
BIDE_CALL(mmap_call);
BIDE_CALL(mprotect_call);
BIDE_CALL(munmap_call);
BIDE_CALL(madvise_call);
BIDE_CALL(mremap_call);
BIDE_CALL(shmat_call);
void stacks_after_fork() noexcept;  // in the child
#else

// trapped.cpp
BIDE_CALL(rt_sigaction_call);
BIDE_CALL(rt_sigprocmask_call);
BIDE_CALL(prctl_call);
#endif

#undef BIDE_CALL

}  // namespace bide::call
