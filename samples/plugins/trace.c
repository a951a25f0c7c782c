/* Tells which thread of an unmodified program waited how long, and on what, which strace can't: there a fiber has no name.
 *
 *   build/lib/bide run --with build/samples/libtrace.so curl http://example.org
 *
 * A line for each call that took 1 ms, or TRACE_MS in the environment, and longer; and at the end what waited longest. */
#define _GNU_SOURCE
#define BIDE_PLUGIN
#include <bide/calls.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct { long calls, ns; int of_file; } total[512];
static long least = 1000000;

static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000 + t.tv_nsec;
}

static const short of_files[] = {  /* calls whose first word is a descriptor */
    SYS_read, SYS_readv, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_write, SYS_writev,
    SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_accept, SYS_accept4, SYS_connect,
    SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_splice, SYS_tee, SYS_vmsplice, SYS_sendfile, SYS_copy_file_range,
    SYS_mq_timedsend, SYS_mq_timedreceive, SYS_flock, SYS_fcntl, SYS_ioctl, SYS_fsync, SYS_fdatasync, SYS_syncfs,
    SYS_sync_file_range, SYS_fallocate, SYS_ftruncate, SYS_readahead, SYS_io_uring_enter};

static long trace(struct bide_passing_call *call, void *unused) {
  (void)unused;
  char link[40], file[256] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%ld", call->arguments[0]);
  if (total[call->number].of_file && readlink(link, file, sizeof file - 1) < 0) *file = 0;
  const long began = now(), answer = bide_call_go_on(call), took = now() - began;
  __atomic_fetch_add(&total[call->number].calls, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&total[call->number].ns, took, __ATOMIC_RELAXED);
  if (took >= least)
    dprintf(STDERR_FILENO, "trace: thread %lu waited %.3f ms in %s(%s) = %ld\n", call->fiber, took / 1e6,
            bide_call_name(call->number), file, answer);
  return answer;
}

__attribute__((constructor)) static void start(void) {
  if (getenv("TRACE_MS")) least = atof(getenv("TRACE_MS")) * 1e6;
  for (size_t i = 0; i < sizeof of_files / sizeof *of_files; ++i) total[of_files[i]].of_file = 1;
  for (long number = 0; bide_wrapper_add && number < 512; ++number)
    if (bide_call_waits(number)) bide_wrapper_add(number, trace, NULL, NULL, 0);
}

__attribute__((destructor)) static void end(void) {
  for (long number = 0; number < 512; ++number)
    if (total[number].ns >= least)
      dprintf(STDERR_FILENO, "trace: %s: %ld calls, %.3f ms\n", bide_call_name(number), total[number].calls,
              total[number].ns / 1e6);
}
