// What few programs do.
#include "program.h"

#include <dlfcn.h>
#include <linux/io_uring.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void *add_one(void *value) {
  nap(2);
  return (void *)((long)value + 1);
}

CASE(all_descriptors_are_closed) {
  int out = dup(1);
  pthread_t before = start(add_one, (void *)1);
  for (int fd = 3; fd < 1024; ++fd)
    if (fd != out) close(fd);
  int ends[2];
  char c;
  say("pipe %s", outcome(pipe(ends)));
  pthread_t after_it = start(add_one, (void *)5);
  say("%ld", (long)write(ends[1], "x", 1) + (long)read(ends[0], &c, 1));
  say("%ld %ld", (long)join(before), (long)join(after_it));
  say("%s", outcome(syscall(SYS_close_range, 3, ~0u, 0)));
  say("%ld", (long)join(start(add_one, (void *)6)));
  closefrom(3);
  say("%ld", (long)join(start(add_one, (void *)7)));
}

CASE(descriptors_are_numbered_from_the_lowest) {
  join(start(add_one, NULL));
  int a = open("/dev/null", O_RDONLY), b = dup(a), c = socket(AF_INET, SOCK_STREAM, 0);
  say("%d %d %d", a, b, c);
  close(b);
  say("%d", open("/dev/null", O_RDONLY));
}

CASE(few_descriptors) {
  struct rlimit few = {8, 8};
  setrlimit(RLIMIT_NOFILE, &few);
  say("%ld", (long)join(start(add_one, (void *)1)));
  int fds = 0;
  while (open("/dev/null", O_RDONLY) >= 0) ++fds;
  say("%d %s", fds, error_name(errno));
  nap(5);
  say("%ld", (long)join(start(add_one, (void *)2)));
}

static atomic_int caught;
static void on_sys(int number, siginfo_t *info, void *context) {
  caught += number == SIGSYS && info->si_code == SI_TKILL && context;
}

CASE(a_sigsys_handler_of_its_own) {
  struct sigaction a = {.sa_flags = SA_SIGINFO}, was;
  a.sa_sigaction = on_sys;
  say("%s", outcome(sigaction(SIGSYS, &a, &was)));
  say("default %d", was.sa_handler == SIG_DFL);
  raise(SIGSYS);
  say("caught %d", caught);
  say("%ld", (long)join(start(add_one, (void *)1)));
  sigaction(SIGSYS, NULL, &was);
  say("same %d", was.sa_sigaction == on_sys);
}

CASE(sigsys_by_default_ends_it) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  raise(SIGSYS);
}

static void *under_all_blocked(void *unused) {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, NULL, &set);
  say("blocked %d %d", sigismember(&set, SIGSYS), sigismember(&set, SIGSEGV));
  nap(10);
  return unused;
}

CASE(all_signals_blocked) {
  sigset_t all, was;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  pthread_sigmask(SIG_SETMASK, NULL, &was);
  say("%d %d", sigismember(&was, SIGSYS), sigismember(&was, SIGUSR1));
  join(start(under_all_blocked, NULL));
  int ends[2];
  char c;
  if (pipe(ends)) say("no pipe");
  pid_t child = fork();
  if (!child) {
    nap(10);
    _exit(write(ends[1], "x", 1) == 1 ? 3 : 4);
  }
  say("%ld", (long)read(ends[0], &c, 1));
  int status;
  waitpid(child, &status, 0);
  say_end("child", status);
}

static void *policy(void *unused) {
  struct sched_param p;
  int how;
  say("%s", error_name(pthread_getschedparam(pthread_self(), &how, &p)));
  say("%d %d", how, p.sched_priority);
  p.sched_priority = 0;
  say("%s", error_name(pthread_setschedparam(pthread_self(), SCHED_OTHER, &p)));
  p.sched_priority = 500;
  say("%s", error_name(pthread_setschedparam(pthread_self(), SCHED_FIFO, &p)));
  return unused;
}

CASE(policies) { join(start(policy, NULL)); }

struct ring {
  int fd;
  char *queues;
  struct io_uring_params p;
  struct io_uring_sqe *asked;
};

static int open_ring(struct ring *r, unsigned flags) {
  memset(&r->p, 0, sizeof r->p);
  r->p.flags = flags;
  r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
  if (r->fd < 0) return -1;
  size_t size = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe) + r->p.sq_entries * 4;
  r->queues = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
  r->asked = mmap(NULL, r->p.sq_entries * sizeof *r->asked, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
  return 0;
}

// Puts a request into the next place of a ring that has room for all of the caller's.
static struct io_uring_sqe *ask(struct ring *r, int what) {
  atomic_uint *tail = (atomic_uint *)(r->queues + r->p.sq_off.tail);
  unsigned place = *tail;
  memset(&r->asked[place], 0, sizeof *r->asked);
  r->asked[place].opcode = what;
  r->asked[place].user_data = 77 + place;
  ((unsigned *)(r->queues + r->p.sq_off.array))[place] = place;
  atomic_store(tail, place + 1);
  return &r->asked[place];
}

static void *use_ring(void *unused) {
  struct ring r;
  struct { long long sec, nsec; } t = {0, 30000000};
  if (open_ring(&r, 0)) return unused;
  struct io_uring_sqe *sqe = ask(&r, IORING_OP_TIMEOUT);
  sqe->addr = (uintptr_t)&t;
  sqe->len = 1;
  long n = syscall(SYS_io_uring_enter, r.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
  struct io_uring_cqe *cqe = (struct io_uring_cqe *)(r.queues + r.p.cq_off.cqes);
  say("%ld result %s data %d", n, error_name(-cqe->res), (int)cqe->user_data);
  return unused;
}

static int three_pipes[3][2];
static void *write_to_each(void *unused) {
  for (int i = 0; i < 3; ++i) {
    nap(10);
    if (write(three_pipes[i][1], "x", 1) != 1) say("not written");
  }
  return unused;
}

static void *use_ring_for_several(void *unused) {
  // Kinds that not every kernel has: COOP_TASKRUN; SINGLE_ISSUER with DEFER_TASKRUN.
  const unsigned kinds[] = {0, 1u << 8, 1u << 12 | 1u << 13};
  char byte;
  for (int i = 0; i < 3; ++i) {
    struct ring r;
    if (open_ring(&r, kinds[i])) continue;
    for (int j = 0; j < 3; ++j) {
      if (pipe(three_pipes[j])) say("no pipe");
      struct io_uring_sqe *sqe = ask(&r, IORING_OP_READ);
      sqe->fd = three_pipes[j][0];
      sqe->addr = (uintptr_t)&byte;
      sqe->len = 1;
    }
    pthread_t writer = start(write_to_each, NULL);
    long n = syscall(SYS_io_uring_enter, r.fd, 3, 3, IORING_ENTER_GETEVENTS, NULL, 0);
    unsigned there = *(unsigned *)(r.queues + r.p.cq_off.tail);
    struct io_uring_cqe *cqe = (struct io_uring_cqe *)(r.queues + r.p.cq_off.cqes);
    say("%d: %ld of %u data %d %d %d", i, n, there, (int)cqe[0].user_data, (int)cqe[1].user_data, (int)cqe[2].user_data);
    say("nothing to submit: %ld", (long)syscall(SYS_io_uring_enter, r.fd, 1, 4, IORING_ENTER_GETEVENTS, NULL, 0));
    join(writer);
  }
  return unused;
}

static atomic_int others;
static void *beside(void *unused) {
  nap(5);
  ++others;
  return unused;
}

CASE(rings_of_its_own) {
  pthread_t threads[3], other = start(beside, NULL);
  for (int i = 0; i < 3; ++i) threads[i] = start(use_ring, NULL);
  for (int i = 0; i < 3; ++i) join(threads[i]);
  join(other);
  say("%d", others);
}

CASE(rings_that_wait_for_several) {
  pthread_t thread = start(use_ring_for_several, NULL), other = start(beside, NULL);
  join(other);
  join(thread);
  say("%d", others);
}

static void *use_library(void *unused) {
  void *library = dlopen("libm.so.6", RTLD_NOW);
  double (*root)(double) = (double (*)(double))dlsym(library, "sqrt");
  nap(1);
  long value = (long)root(1764);
  dlclose(library);
  return unused ? unused : (void *)value;
}

CASE(libraries_at_run_time) {
  pthread_t threads[6];
  long sum = 0;
  for (int i = 0; i < 6; ++i) threads[i] = start(use_library, NULL);
  for (int i = 0; i < 6; ++i) sum += (long)join(threads[i]);
  say("%ld %s", sum, dlopen("no-such-library.so", RTLD_NOW) ? "there" : "none");
}

static void *bad_arguments(void *unused) {
  char *volatile bad = (char *)8, *nowhere = bad;
  int ends[2];
  if (pipe(ends)) say("no pipe");
  say("write %s", outcome(write(ends[1], nowhere, 1)));
  if (write(ends[1], "x", 1) != 1) say("no write");
  say("read %s", outcome(syscall(SYS_read, ends[0], nowhere, 1)));
  say("nanosleep %s", outcome(syscall(SYS_nanosleep, nowhere, NULL)));
  say("poll %s", outcome(syscall(SYS_poll, nowhere, 1, 0)));
  say("pipe %s", outcome(syscall(SYS_pipe, nowhere)));
  say("futex %s %s", outcome(syscall(SYS_futex, nowhere, 0, 0, NULL)), outcome(syscall(SYS_futex, (char *)ends + 1, 1, 1)));
  say("sigprocmask %s", outcome(syscall(SYS_rt_sigprocmask, 0, nowhere, NULL, 8)));
  say("sigaction %s %s", outcome(syscall(SYS_rt_sigaction, 10, nowhere, NULL, 8)), outcome(syscall(SYS_rt_sigaction, 99, NULL, NULL, 8)));
  say("clock %s", outcome(syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, nowhere)));
  say("none %s", outcome(syscall(9999)));
  say("name %s", outcome(prctl(PR_SET_NAME, nowhere)));
  return unused;
}

CASE(bad_arguments_are_refused) { join(start(bad_arguments, NULL)); }

static int many_rounds(void) {
  long sum = 0;
  for (int i = 0; i < 200; ++i) {
    pthread_t threads[10];
    for (long k = 0; k < 10; ++k) threads[k] = start((void *(*)(void *))(void *)labs, (void *)k);
    for (int k = 0; k < 10; ++k) sum += (long)join(threads[k]);
  }
  return (int)sum;
}

static long resident(void) {
  long pages = 0, all;
  FILE *f = fopen("/proc/self/statm", "r");
  if (fscanf(f, "%ld %ld", &all, &pages) != 2) pages = 0;
  fclose(f);
  return pages;
}

CASE(threads_that_ended_leave_nothing) {
  say("%d", many_rounds());
  long before = resident();
  say("%d", many_rounds());
  say("grows %d", resident() - before > 200);
}
