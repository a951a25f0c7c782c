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

static struct { long calls, ns; } total[512];
static long least = 1000000;

static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000 + t.tv_nsec;
}

/* What the first word stands for: a descriptor's file, or nothing to be named. */
static const char *subject(const struct bide_passing_call *call, char *room, size_t size) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%ld", call->arguments[0]);
  const ssize_t n = readlink(link, room, size - 1);
  room[n > 0 ? n : 0] = 0;
  return room;
}

static long trace(struct bide_passing_call *call, void *unused) {
  (void)unused;
  char room[256] = "";
  const int has_file = call->number != SYS_futex && call->number != SYS_nanosleep && call->number != SYS_poll;
  if (has_file) subject(call, room, sizeof room);
  const long began = now(), answer = bide_call_go_on(call), took = now() - began;
  __atomic_fetch_add(&total[call->number].calls, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&total[call->number].ns, took, __ATOMIC_RELAXED);
  if (took >= least)
    dprintf(STDERR_FILENO, "trace: thread %lu waited %.3f ms in %s(%s) = %ld\n", call->fiber, took / 1e6,
            bide_call_name(call->number), room, answer);
  return answer;
}

__attribute__((constructor)) static void start(void) {
  if (getenv("TRACE_MS")) least = atof(getenv("TRACE_MS")) * 1e6;
  for (long number = 0; bide_wrapper_add && number < 512; ++number)
    if (bide_call_waits(number)) bide_wrapper_add(number, trace, NULL, NULL, 0);
}

__attribute__((destructor)) static void end(void) {
  for (long number = 0; number < 512; ++number)
    if (total[number].ns >= least)
      dprintf(STDERR_FILENO, "trace: %s: %ld calls, %.3f ms\n", bide_call_name(number), total[number].calls,
              total[number].ns / 1e6);
}
