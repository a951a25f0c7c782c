// What the kernel keeps for each thread: where and how urgently it runs, and the calls that name a thread by its id.
#include "program.h"

#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

enum { process = 1, ionice_best_effort = 2 << 13 };

static sem_t told, leave;

// A thread that stays until it is let go, and its id.
static void *stay(void *id) {
  *(pid_t *)id = gettid();
  sem_post(&told);
  while (sem_wait(&leave)) {}  // by a signal
  return NULL;
}
static pthread_t start_staying(pid_t *id) {
  sem_init(&told, 0, 0);
  sem_init(&leave, 0, 0);
  pthread_t thread = start(stay, id);
  sem_wait(&told);
  return thread;
}
// A thread is known to the kernel for a moment after it can be joined.
static void let_go(pthread_t thread, pid_t id) {
  sem_post(&leave);
  join(thread);
  while (!syscall(SYS_tgkill, getpid(), id, 0)) nap(1);
}

// The processors a thread may run on, counted from the first one that the program has.
static int first_cpu, cpus;
static void say_cpus(const char *who, pid_t tid) {
  cpu_set_t set;
  char names[64] = "";
  if (sched_getaffinity(tid, sizeof set, &set)) return say("%s: %s", who, error_name(errno));
  for (int i = 0; i < CPU_SETSIZE && strlen(names) < 50; ++i)
    if (CPU_ISSET(i, &set)) sprintf(names + strlen(names), " %d", i - first_cpu);
  say("%s:%s", who, names);
}
static cpu_set_t one_cpu(int which) {
  cpu_set_t set, all;
  sched_getaffinity(0, sizeof all, &all);
  if (!cpus) {
    cpus = CPU_COUNT(&all);
    while (!CPU_ISSET(first_cpu, &all)) ++first_cpu;
  }
  CPU_ZERO(&set);
  CPU_SET(first_cpu + which % cpus, &set);
  return set;
}

static void *inherit(void *unused) {
  say_cpus("its child", 0);
  return unused;
}
static void *choose(void *unused) {
  cpu_set_t second = one_cpu(1);
  say("%s", error_name(pthread_setaffinity_np(pthread_self(), sizeof second, &second)));
  say_cpus("itself", 0);
  say_cpus("by id", gettid());
  say_cpus("main", getpid());
  join(start(inherit, NULL));
  pid_t child = fork();
  if (!child) {
    say_cpus("its process", 0);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  fflush(stdout);
  if (system("nproc")) say("no nproc");
  say_cpus("and still", 0);
  return unused;
}

CASE(affinity_is_a_threads_own) {
  cpu_set_t none, first = one_cpu(0), beyond;
  CPU_ZERO(&none);
  CPU_ZERO(&beyond);
  CPU_SET(CPU_SETSIZE - 1, &beyond);
  join(start(choose, NULL));
  say_cpus("main", 0);
  say("none %s", outcome(sched_setaffinity(0, sizeof none, &none)));
  say("beyond %s", outcome(sched_setaffinity(0, sizeof beyond, &beyond)));
  say("short %s", outcome(syscall(SYS_sched_getaffinity, 0, 1, &none)));
  say("nowhere %s", outcome(sched_setaffinity(0, sizeof none, (void *)8)));
  CPU_OR(&beyond, &beyond, &first);
  pid_t id;
  pthread_t other = start_staying(&id);
  say("other %s", error_name(pthread_setaffinity_np(other, sizeof beyond, &beyond)));
  say("%s", error_name(pthread_getaffinity_np(other, sizeof none, &none)));
  say("same %d", CPU_EQUAL(&none, &first));
  say_cpus("other", id);
  say_cpus("main", getpid());
  let_go(other, id);
  say_cpus("gone", id);
  say_cpus("parent", getppid());
  pthread_attr_t how;
  pthread_t made;
  cpu_set_t second = one_cpu(1);
  pthread_attr_init(&how);
  pthread_attr_setaffinity_np(&how, sizeof second, &second);
  int error = pthread_create(&made, &how, inherit, NULL);
  if (!error) join(made);
  say("%s", error_name(error));
}

CASE(says_cpus) { say_cpus("the image", 0); }

static void *becomes_another(void *unused) {
  cpu_set_t first = one_cpu(0);
  pthread_setaffinity_np(pthread_self(), sizeof first, &first);
  say("%s", outcome(execl("/nowhere", "nothing", NULL)));
  join(start(inherit, NULL));
  execl("/proc/self/exe", "standing", "says_cpus", NULL);
  return unused;
}

CASE(affinity_is_passed_on_by_exec) { join(start(becomes_another, NULL)); }

CASE(affinity_before_the_second_thread) {
  cpu_set_t second = one_cpu(1);
  say("%s", outcome(sched_setaffinity(getpid(), sizeof second, &second)));
  say_cpus("main", 0);
  join(start(inherit, NULL));
  say_cpus("main", gettid());
  unsigned cpu = 9999;
  say("%s %d", outcome(syscall(SYS_getcpu, &cpu, NULL, NULL)), cpus == 1 || (int)cpu == first_cpu + 1);
}

struct attributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t times[3];
  uint32_t more[2];
};

static void say_standing(const char *who, pid_t tid) {
  struct sched_param p = {99};
  struct attributes a;
  errno = 0;
  int policy = sched_getscheduler(tid), got = sched_getparam(tid, &p), nice = getpriority(PRIO_PROCESS, (id_t)tid);
  say("%s: policy %d, %d priority %d, nice %d, io %ld", who, policy, got, p.sched_priority, nice,
      syscall(SYS_ioprio_get, process, tid));
  long well = syscall(SYS_sched_getattr, tid, &a, sizeof a, 0);
  say("  %s size %u policy %u nice %d priority %u", outcome(well), a.size, a.policy, a.nice, a.priority);
}
static void *said(void *who) {
  say_standing(who, 0);
  return NULL;
}
static void *become_idle(void *unused) {
  struct sched_param p = {0};
  say("batch %s", outcome(sched_setscheduler(0, SCHED_BATCH, &p)));
  say_standing("batch", gettid());
  say("idle %s", error_name(pthread_setschedparam(pthread_self(), SCHED_IDLE, &p)));
  say_standing("idle", 0);
  p.sched_priority = 3;
  say("priority %s", outcome(sched_setparam(0, &p)));
  struct attributes a = {.size = sizeof a, .policy = SCHED_OTHER, .nice = 7};
  say("attr %s", outcome(syscall(SYS_sched_setattr, gettid(), &a, 0)));
  a.policy = 77;
  say("attr %s", outcome(syscall(SYS_sched_setattr, 0, &a, 0)));
  say("attr %s", outcome(syscall(SYS_sched_getattr, gettid(), &a, 12, 0)));
  join(start(said, "its child"));
  return unused;
}

CASE(urgency_is_a_threads_own) {
  pid_t id;
  struct timespec t;
  pthread_t other = start_staying(&id);
  say_standing("at first", 0);
  join(start(become_idle, NULL));
  say("other's nice %s", outcome(setpriority(PRIO_PROCESS, (id_t)id, 5)));
  say("more %s", outcome(setpriority(PRIO_PROCESS, (id_t)id, 500)));
  say("other's io %s", outcome(syscall(SYS_ioprio_set, process, id, ionice_best_effort | 6)));
  say("wrong io %s", outcome(syscall(SYS_ioprio_set, process, id, 99 << 13)));
  say_standing("other", id);
  say_standing("main", 0);
  say("mine %s", outcome(nice(3)));
  say_standing("main", getpid());
  say("slice %s", outcome(sched_rr_get_interval(id, &t)));
  int policy;
  struct sched_param p;
  say("%s", error_name(pthread_getschedparam(other, &policy, &p)));
  pid_t child = fork();
  if (!child) {
    say_standing("child", 0);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  let_go(other, id);
  say("gone %s %s", outcome(sched_getscheduler(id)), outcome(getpriority(PRIO_PROCESS, (id_t)id)));
  say("gone %s %s", outcome(setpriority(PRIO_PROCESS, (id_t)id, 1)), outcome(syscall(SYS_ioprio_get, process, id)));
  say("parent %s", outcome(sched_getscheduler(getppid())));
}

// With privileges it is well, without it is refused: either way as natively.
static void *hurry(void *unused) {
  struct sched_param p = {10};
  struct timespec t = {9, 9};
  say("fifo %s", outcome(sched_setscheduler(0, SCHED_FIFO, &p)));
  say_standing("fifo", 0);
  say("%s %ld", outcome(sched_rr_get_interval(0, &t)), t.tv_nsec);
  nap(20);
  p.sched_priority = 20;
  say("param %s", outcome(sched_setparam(gettid(), &p)));
  say_standing("fifo", gettid());
  say("nice %s", outcome(setpriority(PRIO_PROCESS, 0, -5)));
  p.sched_priority = 0;
  say("back %s", outcome(sched_setscheduler(0, SCHED_OTHER, &p)));
  say_standing("back", 0);
  return unused;
}
CASE(realtime_is_a_threads_own) {
  join(start(hurry, NULL));
  say_standing("main", 0);
  pthread_attr_t how;
  struct sched_param p = {5};
  pthread_t thread;
  pthread_attr_init(&how);
  pthread_attr_setinheritsched(&how, PTHREAD_EXPLICIT_SCHED);
  pthread_attr_setschedpolicy(&how, SCHED_RR);
  pthread_attr_setschedparam(&how, &p);
  int error = pthread_create(&thread, &how, said, "made so");
  if (!error) join(thread);
  say("%s", error_name(error));
}

static void *own_settings(void *unused) {
  int signal = 9;
  say("slack %d", prctl(PR_GET_TIMERSLACK));
  say("%s %d", outcome(prctl(PR_SET_TIMERSLACK, 1234)), prctl(PR_GET_TIMERSLACK));
  say("death %s %d", outcome(prctl(PR_GET_PDEATHSIG, &signal)), signal);
  say("%s", outcome(prctl(PR_SET_PDEATHSIG, SIGUSR2)));
  say("%s %d", outcome(prctl(PR_GET_PDEATHSIG, &signal)), signal);
  say("%s", outcome(prctl(PR_SET_PDEATHSIG, 99)));
  return unused;
}
CASE(slack_and_death_signal) {
  int signal = 9;
  say("%s", outcome(prctl(PR_SET_PDEATHSIG, SIGUSR1)));
  say("%s", outcome(prctl(PR_SET_TIMERSLACK, 60000)));
  join(start(own_settings, NULL));
  say("%s %d, slack %d", outcome(prctl(PR_GET_PDEATHSIG, &signal)), signal, prctl(PR_GET_TIMERSLACK));
  say("%s", outcome(prctl(PR_GET_PDEATHSIG, (void *)8)));
}

CASE(a_parents_end_is_told) {
  int ends[2], c = 0;
  if (pipe(ends)) say("no pipe");
  pid_t parent = fork();
  if (!parent) {
    pid_t child = fork();
    if (!child) {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGUSR1);
      sigprocmask(SIG_BLOCK, &set, NULL);
      join(start(own_settings, NULL));
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      if (write(ends[1], "x", 1) != 1) _exit(1);
      struct timespec most = {10, 0};
      say("told %s", sigtimedwait(&set, NULL, &most) == SIGUSR1 ? "well" : "not");
      _exit(write(ends[1], "y", 1) != 1);
    }
    if (read(ends[0], &c, 1) != 1) say("no child");
    _exit(0);
  }
  waitpid(parent, NULL, 0);
  if (read(ends[0], &c, 1) != 1) say("no end");
  say("%c", c);
}

static atomic_int caught;
static void on_signal(int number, siginfo_t *info, void *context) {
  caught += info->si_value.sival_int + (number == SIGUSR1) + (context != NULL);
}

CASE(calls_that_name_a_thread) {
  struct sigaction handle = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &handle, NULL);
  pid_t id;
  pthread_t other = start_staying(&id);
  struct rlimit limit;
  say("prlimit %s", outcome(prlimit(id, RLIMIT_NOFILE, NULL, &limit)));
  say("getpgid %d getsid %d", getpgid(id) == getpgrp(), getsid(id) == getsid(0));
  char from[] = "words", to[sizeof from] = "";
  struct iovec here = {to, sizeof to}, there = {from, sizeof from};
  say("process_vm_readv %zd %s", process_vm_readv(id, &here, 1, &there, 1, 0), to);
  there.iov_base = (void *)8;
  say("process_vm_writev %s", outcome(process_vm_writev(id, &here, 1, &there, 1, 0)));
  say("pidfd_open %s", outcome(syscall(SYS_pidfd_open, id, 0)));
  say("kcmp %ld %s", syscall(SYS_kcmp, id, getpid(), KCMP_VM, 0, 0), outcome(syscall(SYS_kcmp, getpid(), id, KCMP_FILE, 1, 1)));
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, id};
  struct __user_cap_data_struct mine[2], others[2];
  say("capget %s", outcome(syscall(SYS_capget, &header, others)));
  say("capset %s", outcome(syscall(SYS_capset, &header, others)));
  header.pid = gettid();
  say("capget %s", outcome(syscall(SYS_capget, &header, mine)));
  say("same %d, version %d, pid %d", !memcmp(mine, others, sizeof mine), header.version == _LINUX_CAPABILITY_VERSION_3, header.pid == gettid());
  say("capset %s", outcome(syscall(SYS_capset, &header, mine)));
  void *list = NULL;
  size_t size = 0;
  say("robust %s %zu", outcome(syscall(SYS_get_robust_list, id, &list, &size)), size);
  say("its own %d", (char *)list > (char *)other && (char *)list < (char *)other + 4096);
  siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
  info.si_value.sival_int = 40;
  say("queue %s", outcome(syscall(SYS_rt_tgsigqueueinfo, getpid(), id, SIGUSR1, &info)));
  while (caught < 42) nap(1);
  say("queue %s", outcome(syscall(SYS_rt_sigqueueinfo, id, SIGUSR1, &info)));
  while (caught < 84) nap(1);
  say("kill %s %s", outcome(kill(id, 0)), outcome(kill(id, SIGUSR1)));
  while (caught < 86) nap(1);
  say("tgkill %s %s", outcome(syscall(SYS_tgkill, id, id, 0)), outcome(syscall(SYS_tgkill, getppid(), id, 0)));
  say("waitpid %s setpgid %s", outcome(waitpid(id, NULL, WNOHANG)), outcome(setpgid(id, 0)));
  say("caught %d", caught);
  let_go(other, id);
  say("prlimit %s kill %s kcmp %s", outcome(prlimit(id, RLIMIT_NOFILE, NULL, &limit)), outcome(kill(id, 0)),
      outcome(syscall(SYS_kcmp, id, getpid(), KCMP_VM, 0, 0)));
}
