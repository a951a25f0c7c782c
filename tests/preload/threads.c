// Threads: how they begin, end, are joined, what is their own.
#include "program.h"

#include <sys/resource.h>
#include <sys/shm.h>

static void *add_one(void *value) { return (void *)((long)value + 1); }

CASE(create_and_join) {
  long sum = 0;
  for (int round = 0; round < 50; ++round) {
    pthread_t threads[20];
    for (long i = 0; i < 20; ++i) threads[i] = start(add_one, (void *)i);
    for (int i = 0; i < 20; ++i) sum += (long)join(threads[i]);
  }
  say("sum %ld", sum);
}

static void *leave_by_exit(void *value) {
  pthread_exit((void *)((long)value * 2));
}

CASE(pthread_exit_gives_its_value) { say("%ld", (long)join(start(leave_by_exit, (void *)21))); }

static void *create_deeper(void *depth) {
  if (!depth) return NULL;
  return (void *)((long)join(start(create_deeper, (void *)((long)depth - 1))) + 1);
}

CASE(threads_make_threads) { say("%ld", (long)join(start(create_deeper, (void *)100))); }

static sem_t gone;
static void *count_up(void *value) {
  ++*(atomic_int *)value;
  sem_post(&gone);
  return NULL;
}

CASE(detached_threads_run) {
  atomic_int count = 0;
  sem_init(&gone, 0, 0);
  for (int i = 0; i < 200; ++i) pthread_detach(start(count_up, &count));
  for (int i = 0; i < 200; ++i) sem_wait(&gone);
  say("%d", count);
}

static long resident_kib(void) {
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%*d %ld", &pages) != 1) say("no statm");
  if (f) fclose(f);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

CASE(short_threads_leave_nothing) {
  const int many = getenv("LD_PRELOAD") ? 80000 : 400;  // the kernel's own threads are not in question, and slow
  for (int i = 0; i < many; ++i) join(start(add_one, NULL));
  const long before = resident_kib();
  for (int i = 0; i < many; ++i) join(start(add_one, NULL));
  say("grew %d", resident_kib() > before + 400);
}

static void *rest(void *milliseconds) {
  nap((long)milliseconds);
  return milliseconds;
}

CASE(join_that_does_not_wait) {
  pthread_t thread = start(rest, (void *)200);
  void *value = NULL;
  struct timespec soon = after(CLOCK_REALTIME, 20);
  say("try %s", error_name(pthread_tryjoin_np(thread, &value)));
  say("timed %s", error_name(pthread_timedjoin_np(thread, &value, &soon)));
  soon = after(CLOCK_MONOTONIC, 20);
  say("clock %s", error_name(pthread_clockjoin_np(thread, &value, CLOCK_MONOTONIC, &soon)));
  say("join %s", error_name(pthread_join(thread, &value)));
  say("%ld; self %s", (long)value, error_name(pthread_join(pthread_self(), NULL)));
}

static __thread int own = 7;
static __thread char more[512];
static pthread_key_t key;
static atomic_int destroyed;
static void destroy(void *value) {
  destroyed += (int)(long)value;
  if ((long)value > 1) pthread_setspecific(key, (void *)((long)value - 1));
}
static void *use_own(void *value) {
  if (own != 7 || more[511]) say("not fresh");
  own = (int)(long)value;
  memset(more, own, sizeof more);
  pthread_setspecific(key, value);
  nap(5);
  if (own != (int)(long)value || more[256] != (char)own || pthread_getspecific(key) != value) say("mixed up");
  return NULL;
}

CASE(thread_locals_and_keys) {
  pthread_t threads[50];
  pthread_key_create(&key, destroy);
  for (long i = 0; i < 50; ++i) threads[i] = start(use_own, (void *)(i % 3 + 1));
  for (int i = 0; i < 50; ++i) join(threads[i]);
  say("own %d destroyed %d", own, destroyed);
}

static atomic_int once_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void slowly(void) {
  nap(20);
  ++once_count;
}
static void *call_once(void *unused) {
  pthread_once(&once, slowly);
  return (void *)(long)once_count;
  (void)unused;
}

CASE(once_waits_for_the_one) {
  pthread_t threads[30];
  long sum = 0;
  for (int i = 0; i < 30; ++i) threads[i] = start(call_once, NULL);
  for (int i = 0; i < 30; ++i) sum += (long)join(threads[i]);
  say("%ld", sum);
}

static void *use_stack(void *value) {
  volatile char room[4096];
  for (int i = 0; i < 4096; ++i) room[i] = (char)i;
  nap(2);
  long sum = 0;
  for (int i = 0; i < 4096; ++i) sum += room[i];
  return (void *)(sum + (long)value);
}

CASE(small_stacks) {
  pthread_attr_t how;
  pthread_t threads[100];
  long sum = 0;
  pthread_attr_init(&how);
  say("%s", error_name(pthread_attr_setstacksize(&how, 16384)));
  for (long i = 0; i < 100; ++i) pthread_create(&threads[i], &how, use_stack, (void *)i);
  for (int i = 0; i < 100; ++i) sum += (long)join(threads[i]);
  say("%ld", sum);
}

static void *where(void *value) {
  void *base;
  size_t size;
  pthread_attr_t how;
  pthread_getattr_np(pthread_self(), &how);
  pthread_attr_getstack(&how, &base, &size);
  pthread_attr_destroy(&how);
  return (char *)&how >= (char *)base && (char *)&how < (char *)base + size ? value : NULL;
}

CASE(stacks_of_its_own) {
  pthread_attr_t how;
  pthread_attr_init(&how);
  size_t size = 65536;
  char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_setstack(&how, stack, size);
  for (int i = 0; i < 20; ++i) {  // the stack is used again at once
    pthread_t thread;
    pthread_create(&thread, &how, where, (void *)1);
    if (!join(thread)) say("elsewhere");
    memset(stack, 0xee, size);
  }
  say("main %s", where((void *)1) ? "here" : "elsewhere");
  say("other %s", join(start(where, (void *)1)) ? "here" : "elsewhere");
}

// A byte may be read by the kernel: write(2) says EFAULT where it can't be.
static int readable(int pipe_end, const char *at) { return write(pipe_end, at, 1) == 1; }

struct look {
  size_t guard;
  int pipe_end;
  char *lowest;
};
static __thread char own_room[500];

// What a new thread may rely on, whoever had the stack before: its own variables are as the program set them, all of the
// stack may be used, and below it nothing may.
static void *look_around(void *value) {
  struct look *l = value;
  void *base;
  size_t size;
  pthread_attr_t how;
  for (size_t i = 0; i < sizeof own_room; ++i) {
    if (own_room[i]) return "a variable is used";
  }
  memset(own_room, 0xee, sizeof own_room);
  pthread_getattr_np(pthread_self(), &how);
  pthread_attr_getstack(&how, &base, &size);
  pthread_attr_destroy(&how);
  l->lowest = base;
  if (!readable(l->pipe_end, base)) return "its end can't be read";
  for (size_t below = 1; below < l->guard; below += 4096) {
    if (readable(l->pipe_end, l->lowest - below)) return "no guard";
  }
  memset(l->lowest, 0xee, size / 2);  // deep
  return "well";
}

static void look_around_by_all(struct look *looks, int *ends, int round) {
  static const size_t guards[] = {4096, 65536, 4096, 16384};
  pthread_t threads[12];
  char away[4096];
  for (int i = 0; i < 12; ++i) {
    pthread_attr_t how;
    pthread_attr_init(&how);
    looks[i] = (struct look){guards[(round + i) % 4], ends[1], NULL};
    pthread_attr_setstacksize(&how, (8 << 20) - looks[i].guard);  // libc maps both together: all are alike
    pthread_attr_setguardsize(&how, looks[i].guard);
    pthread_create(&threads[i], &how, look_around, &looks[i]);
  }
  for (int i = 0; i < 12; ++i) {
    const char *said = join(threads[i]);
    if (strcmp(said, "well")) say("round %d, thread %d: %s", round, i, said);
  }
  while (read(ends[0], away, sizeof away) > 0) {}
}

static char *map_at(char *at, size_t size) {
  return mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}
static char *share_at(char *at, size_t size) {
  const int id = shmget(IPC_PRIVATE, size, 0600);
  char *there = shmat(id, at, 0);
  shmctl(id, IPC_RMID, NULL);
  return there;
}
static void use_stacks_again(char *(*map_at)(char *at, size_t size)) {
  int ends[2];
  struct look looks[12], more[12];
  char *mine[12];
  const size_t size = 65536;
  int mapped = 0;
  if (pipe2(ends, O_NONBLOCK)) return;
  for (int round = 0; round < 8; ++round) look_around_by_all(looks, ends, round);
  // Where the program maps something itself, because a stack is there no more, none comes to be.
  for (int i = 0; i < 12; ++i) {
    mine[i] = map_at(looks[i].lowest + (4 << 20), size);
    if (mine[i] == MAP_FAILED) continue;
    ++mapped;
    memset(mine[i], 0x55, size);
  }
  for (int round = 0; round < 3; ++round) look_around_by_all(more, ends, round);
  for (int i = 0; i < 12; ++i) {
    for (size_t at = 0; mine[i] != MAP_FAILED && at < size; ++at) {
      if (mine[i][at] == 0x55) continue;
      say("a stack is on a map of the program's");
      break;
    }
  }
  say("%s", mapped >= 6 ? "free" : "taken");  // libc itself keeps 40 MB of them
}

CASE(stacks_used_again) { use_stacks_again(map_at); }
CASE(stacks_used_again_beside_shared_memory) { use_stacks_again(share_at); }

__attribute__((noinline)) static int deeper(volatile int n) {
  volatile char room[512];
  room[0] = (char)n;
  return deeper(n + 1) + room[0];
}
static void *overflow(void *value) {
  return (void *)(long)deeper((int)(long)value);
}

CASE(overflow_ends_by_a_fault) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  join(start(overflow, NULL));
}

static atomic_int released;
static void *wait_for_release(void *value) {
  while (!released) nap(200);
  return value;
}

CASE(ten_thousand_alive) {
  pthread_attr_t how;
  pthread_attr_init(&how);
  pthread_attr_setstacksize(&how, 16384);
  pthread_attr_setguardsize(&how, 0);
  static pthread_t threads[10000];
  long made = 0, sum = 0;
  for (long i = 0; i < 10000; ++i) made += !pthread_create(&threads[i], &how, wait_for_release, (void *)i);
  released = 1;
  for (long i = 0; i < made; ++i) sum += (long)join(threads[i]);
  say("%ld %ld", made, sum);
}

static void *say_name(void *unused) {
  char name[32];
  pthread_setname_np(pthread_self(), "worker-bee");
  pthread_getname_np(pthread_self(), name, sizeof name);
  say("name %s; too long %s", name, error_name(pthread_setname_np(pthread_self(), "longer than sixteen")));
  return unused;
}
static void *wait_for_name(void *named) {
  char name[32];
  sem_wait(named);
  pthread_getname_np(pthread_self(), name, sizeof name);
  say("I am %s", name);
  return NULL;
}
CASE(names_of_others) {
  char name[32];
  sem_t named[2];
  for (int i = 0; i < 2; ++i) sem_init(&named[i], 0, 0);
  pthread_t bee = start(wait_for_name, &named[0]), fly = start(wait_for_name, &named[1]);
  say("%s %s", error_name(pthread_setname_np(bee, "bee")), error_name(pthread_setname_np(bee, "longer than sixteen")));
  say("%s", error_name(pthread_getname_np(bee, name, 15)));
  say("%s %s", error_name(pthread_getname_np(bee, name, sizeof name)), name);
  sem_post(&named[0]);
  join(bee);
  say("%s", error_name(pthread_setname_np(fly, "fly")));
  sem_post(&named[1]);
  join(fly);
}
CASE(names) {
  char name[32];
  join(start(say_name, NULL));
  pthread_getname_np(pthread_self(), name, sizeof name);
  say("main %s", name);
}

static void *own_id(void *value) {
  *(pid_t *)value = gettid();
  nap(30);
  return (void *)(long)(getpid() == gettid());
}

CASE(ids) {
  pid_t ids[20];
  pthread_t threads[20];
  int same = 0;
  long mains = 0;
  for (int i = 0; i < 20; ++i) threads[i] = start(own_id, &ids[i]);
  nap(10);
  for (int i = 0; i < 20; ++i) mains += (long)join(threads[i]);
  for (int i = 0; i < 20; ++i)
    for (int k = 0; k < i; ++k) same += ids[i] == ids[k];
  say("same %d, main's %ld, main %d", same, mains, gettid() == getpid());
  say("%s", outcome(syscall(SYS_tgkill, getpid(), getpid(), 0)));
  say("%s", outcome(syscall(SYS_tgkill, getpid(), 0x7ffffff0, 0)));
}

static void *burn(void *value) {
  clockid_t clock;
  struct timespec own_time, process;
  int error = pthread_getcpuclockid(pthread_self(), &clock);
  do {
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own_time);
  } while (own_time.tv_sec == 0 && own_time.tv_nsec < 30000000);
  struct timespec same;
  say("%s %s", error_name(error), outcome(clock_gettime(clock, &same)));
  long more = (same.tv_sec - own_time.tv_sec) * 1000 + (same.tv_nsec - own_time.tv_nsec) / 1000000;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &process);
  say("same clock %d, process %d", more >= 0 && more < 500, process.tv_sec > 0 || process.tv_nsec > 0);
  return value;
}

static void *idle(void *value) {
  nap(150);
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  say("idle %d", t.tv_sec == 0 && t.tv_nsec < 50000000);
  return value;
}

CASE(cpu_clocks) {
  join(start(burn, NULL));
  pthread_t other = start(idle, NULL);
  clockid_t clock;
  struct timespec t;
  say("%s", error_name(pthread_getcpuclockid(other, &clock)));
  nap(20);
  say("%s %d", outcome(clock_gettime(clock, &t)), t.tv_sec == 0 && t.tv_nsec < 20000000);
  join(other);
}

static atomic_int spinning = 1;
static void *spin(void *value) {
  long n = 0;
  while (spinning) ++n;
  return value ? value : (void *)(long)(n > 0);
}

CASE(a_sleeper_beside_threads_that_compute) {
  pthread_t threads[3];
  for (int i = 0; i < 3; ++i) threads[i] = start(spin, NULL);
  for (int i = 0; i < 10; ++i) nap(3);
  spinning = 0;
  for (int i = 0; i < 3; ++i) say("%ld", (long)join(threads[i]));
}

static atomic_int turn;
static void *yield_turns(void *value) {
  for (int i = 0; i < 100; ++i) {
    while (turn % 4 != (int)(long)value) sched_yield();
    ++turn;
  }
  return NULL;
}

CASE(yielding_in_turn) {
  pthread_t threads[4];
  for (long i = 0; i < 4; ++i) threads[i] = start(yield_turns, (void *)i);
  for (int i = 0; i < 4; ++i) join(threads[i]);
  say("%d", turn);
}

static void *exit_with(void *status) {
  nap(10);
  exit((int)(long)status);
}
static void *exit_at_once(void *status) {
  nap(10);
  _exit((int)(long)status);
}
static void *exit_quickly(void *status) {
  nap(10);
  quick_exit((int)(long)status);
}
static void at_end(void) { say("at exit"); }
static void at_quick_end(void) { say("at quick exit"); }

CASE(exit_from_a_thread) {
  atexit(at_end);
  join(start(exit_with, (void *)5));
}

CASE(_exit_from_a_thread) {
  atexit(at_end);
  join(start(exit_at_once, (void *)6));
}

CASE(quick_exit_from_a_thread) {
  atexit(at_end);
  at_quick_exit(at_quick_end);
  join(start(exit_quickly, (void *)7));
}

static void *last_words(void *value) {
  nap(30);
  say("the last thread");
  return value;
}

CASE(pthread_exit_in_main) {
  atexit(at_end);
  start(last_words, NULL);
  pthread_exit(NULL);
}

static void *join_main(void *main_thread) {
  say("main gave %ld", (long)join(*(pthread_t *)main_thread));
  return NULL;
}

CASE(main_is_joined) {
  static pthread_t main_thread;
  main_thread = pthread_self();
  start(join_main, &main_thread);
  pthread_exit((void *)11);
}

CASE(main_returns_with_threads_running) {
  atexit(at_end);
  start(spin, NULL);
  start(rest, (void *)100000);
  nap(10);
}

static void *print_much(void *value) {
  for (int i = 0; i < 300; ++i) fprintf(stderr, "%s", ""), printf("a line of %ld that stays whole\n", (long)value);
  return NULL;
}

CASE(stdio_keeps_lines_whole) {
  pthread_t threads[8];
  FILE *real = stdout;
  stdout = tmpfile();
  for (long i = 0; i < 8; ++i) threads[i] = start(print_much, (void *)(i + 10));
  for (int i = 0; i < 8; ++i) join(threads[i]);
  char line[100], one[100];
  int counts[8] = {0}, wrong = 0;
  rewind(stdout);
  while (fgets(line, sizeof line, stdout)) {
    long n = 0;
    wrong += sscanf(line, "a line of %ld that stays whole", &n) != 1 || n < 10 || n > 17 ||
             snprintf(one, sizeof one, "a line of %ld that stays whole\n", n) < 0 || strcmp(one, line);
    if (n >= 10 && n <= 17) ++counts[n - 10];
  }
  stdout = real;
  for (int i = 0; i < 8; ++i) wrong += counts[i] != 300;
  say("wrong %d", wrong);
}

CASE(flockfile_across_a_wait) {
  flockfile(stdout);
  pthread_t other = start(print_much, (void *)1);
  nap(30);
  say("before");
  funlockfile(stdout);
  join(other);
  fflush(stdout);
}
