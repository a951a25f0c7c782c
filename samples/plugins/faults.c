/* Has calls of an unmodified program fail now and then, to see how it copes.
 *
 *   FAULTS=read:EINTR:10,connect:ECONNREFUSED:30,write:short:50 \
 *     build/lib/bide run --with build/samples/libfaults.so PROGRAM
 *
 * call:error:per cent; "short" asks the kernel for one byte. FAULTS_SEED: another sequence. */
#define _GNU_SOURCE
#define BIDE_PLUGIN
#include <bide/calls.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fault { int error, percent; };
static unsigned seed = 1;

static int by_chance(int percent) {  /* the n-th call's fate is the seed's, whoever makes it */
  static unsigned calls;
  unsigned x = (__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) ^ seed) * 2654435761u;
  return (int)((x ^ x >> 15) % 100) < percent;
}

static long fail(struct bide_passing_call *call, void *data) {
  const struct fault *f = data;
  if (!by_chance(f->percent)) return bide_call_go_on(call);
  if (f->error) return -f->error;
  if (call->arguments[2] > 1) call->arguments[2] = 1;  /* read, write, recvfrom, sendto: their length */
  return bide_call_go_on(call);
}

static int error_of(const char *name) {
  for (int error = 1; error < 134; ++error)
    if (strerrorname_np(error) && !strcmp(strerrorname_np(error), name)) return error;
  return 0;
}

static void add(const char *name, const char *error, int percent) {
  struct fault *f = malloc(sizeof *f);
  *f = (struct fault){error_of(error), percent};
  for (long number = 0; number < 512; ++number) {
    const char *here = bide_call_name(number);
    if (here && !strcmp(here, name) && (f->error || !strcmp(error, "short")) && bide_wrapper_add(number, fail, f, free, 0))
      return;
  }
  dprintf(STDERR_FILENO, "faults: %s:%s means nothing\n", name, error);
  free(f);
}

__attribute__((constructor)) static void start(void) {
  char name[32], error[32];
  int percent, length;
  if (getenv("FAULTS_SEED")) seed = (unsigned)atoi(getenv("FAULTS_SEED"));
  for (const char *at = getenv("FAULTS"); bide_wrapper_add && at && *at; at += length + (at[length] == ','))
    if (sscanf(at, "%31[^:]:%31[^:]:%d%n", name, error, &percent, &length) == 3) add(name, error, percent);
    else break;
}
