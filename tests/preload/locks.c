// Locks and conditions of every kind.
#include "program.h"

#include <threads.h>

static pthread_mutex_t mutex_of(int kind, int robust, int protocol, int shared) {
  pthread_mutex_t m;
  pthread_mutexattr_t how;
  pthread_mutexattr_init(&how);
  pthread_mutexattr_settype(&how, kind);
  pthread_mutexattr_setrobust(&how, robust);
  pthread_mutexattr_setprotocol(&how, protocol);
  pthread_mutexattr_setpshared(&how, shared);
  int error = pthread_mutex_init(&m, &how);
  if (error) say("init: %s", error_name(error));
  return m;
}

static pthread_mutex_t lock;
static long counted;
static void *count(void *rounds) {
  for (long i = 0; i < (long)rounds; ++i) {
    pthread_mutex_lock(&lock);
    long now = counted;
    if (i % 64 == 0) sched_yield();
    counted = now + 1;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}
static void count_with(pthread_mutex_t m, const char *name) {
  pthread_t threads[8];
  lock = m;
  counted = 0;
  for (int i = 0; i < 8; ++i) threads[i] = start(count, (void *)2000);
  for (int i = 0; i < 8; ++i) join(threads[i]);
  say("%s %ld", name, counted);
}

CASE(mutexes_exclude) {
  count_with(mutex_of(PTHREAD_MUTEX_NORMAL, 0, 0, 0), "normal");
  count_with(mutex_of(PTHREAD_MUTEX_RECURSIVE, 0, 0, 0), "recursive");
  count_with(mutex_of(PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0), "errorcheck");
  count_with(mutex_of(PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0, 0), "adaptive");
  count_with(mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, 0, 0), "robust");
  count_with(mutex_of(PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_INHERIT, 0), "inheriting");
  count_with(mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_INHERIT, 0), "both");
  count_with(mutex_of(PTHREAD_MUTEX_NORMAL, 0, 0, PTHREAD_PROCESS_SHARED), "shared");
}

static void *lock_other(void *m) {
  struct timespec soon = after(CLOCK_REALTIME, 20);
  say("try %s", error_name(pthread_mutex_trylock(m)));
  say("timed %s", error_name(pthread_mutex_timedlock(m, &soon)));
  say("unlock %s", error_name(pthread_mutex_unlock(m)));
  return NULL;
}
static void errors_of(pthread_mutex_t m) {
  say("lock %s", error_name(pthread_mutex_lock(&m)));
  join(start(lock_other, &m));
  say("again %s", error_name(pthread_mutex_trylock(&m)));
  say("unlock %s", error_name(pthread_mutex_unlock(&m)));
}

CASE(mutex_errors) {
  errors_of(mutex_of(PTHREAD_MUTEX_RECURSIVE, 0, 0, 0));
  errors_of(mutex_of(PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0));
  errors_of(mutex_of(PTHREAD_MUTEX_ERRORCHECK, 0, PTHREAD_PRIO_INHERIT, 0));
  errors_of(mutex_of(PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST, 0, 0));
  errors_of(mutex_of(PTHREAD_MUTEX_RECURSIVE, 0, PTHREAD_PRIO_INHERIT, 0));
  errors_of(mutex_of(PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ROBUST, 0, 0));
  errors_of(mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, 0, 0));
}

static void twice(pthread_mutex_t m) {
  struct timespec soon = after(CLOCK_REALTIME, 20), later = after(CLOCK_MONOTONIC, 20);
  say("lock %s", error_name(pthread_mutex_lock(&m)));
  say("twice %s", error_name(pthread_mutex_lock(&m)));
  say("timed %s", error_name(pthread_mutex_timedlock(&m, &soon)));
  say("clock %s", error_name(pthread_mutex_clocklock(&m, CLOCK_MONOTONIC, &later)));
  join(start(lock_other, &m));
  for (int error = 0; !error;) say("unlock %s", error_name(error = pthread_mutex_unlock(&m)));
}
static void *lock_all_twice(void *unused) {
  for (int kind = PTHREAD_MUTEX_RECURSIVE; kind <= PTHREAD_MUTEX_ERRORCHECK; ++kind) {
    twice(mutex_of(kind, 0, 0, 0));
    twice(mutex_of(kind, 0, 0, PTHREAD_PROCESS_SHARED));
    twice(mutex_of(kind, PTHREAD_MUTEX_ROBUST, 0, 0));
    twice(mutex_of(kind, 0, PTHREAD_PRIO_INHERIT, 0));
    twice(mutex_of(kind, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_INHERIT, 0));
  }
  return unused;
}

CASE(locked_twice) {
  lock_all_twice(NULL);
  join(start(lock_all_twice, NULL));
}

static void *take_c11(void *m) {
  struct timespec soon = after(CLOCK_REALTIME, 20);
  say("try %d", mtx_trylock(m));
  say("timed %d", mtx_timedlock(m, &soon));
  say("unlock %d", mtx_unlock(m));
  return NULL;
}

CASE(c11_mutexes) {
  mtx_t m;
  mtx_init(&m, mtx_timed | mtx_recursive);
  say("lock %d", mtx_lock(&m));
  say("again %d", mtx_lock(&m));
  join(start(take_c11, &m));
  for (int i = 0; i < 3; ++i) say("unlock %d", mtx_unlock(&m));
  join(start(take_c11, &m));
}

static sem_t held;
static void *die_with(void *m) {
  pthread_mutex_lock(m);
  sem_post(&held);
  nap(30);
  return NULL;
}
static void die_holding(pthread_mutex_t m) {
  sem_init(&held, 0, 0);
  pthread_t other = start(die_with, &m);
  sem_wait(&held);
  say("lock %s", error_name(pthread_mutex_lock(&m)));
  join(other);
  say("mend %s", error_name(pthread_mutex_consistent(&m)));
  say("unlock %s", error_name(pthread_mutex_unlock(&m)));
  say("lock %s", error_name(pthread_mutex_lock(&m)));
  pthread_mutex_unlock(&m);
  join(start(die_with, &m));
  say("lock %s", error_name(pthread_mutex_lock(&m)));
  say("unlock %s", error_name(pthread_mutex_unlock(&m)));
  say("lock %s", error_name(pthread_mutex_lock(&m)));
}

CASE(robust_mutexes_tell_of_the_dead) {
  die_holding(mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, 0, 0));
  die_holding(mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_INHERIT, 0));
}

struct shared {
  pthread_mutex_t m;
  pthread_cond_t c;
  sem_t s;
  pthread_barrier_t b;
  int value;
};
static struct shared *make_shared(int robust, int protocol) {
  struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_condattr_t c;
  pthread_barrierattr_t b;
  pthread_condattr_init(&c);
  pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
  pthread_barrierattr_init(&b);
  pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
  s->m = mutex_of(PTHREAD_MUTEX_NORMAL, robust, protocol, PTHREAD_PROCESS_SHARED);
  pthread_cond_init(&s->c, &c);
  sem_init(&s->s, 1, 0);
  pthread_barrier_init(&s->b, &b, 2);
  return s;
}

static void *shared_side(void *at) {
  struct shared *s = at;
  for (int i = 0; i < 200; ++i) {
    pthread_mutex_lock(&s->m);
    while (s->value % 2 == 0) pthread_cond_wait(&s->c, &s->m);
    ++s->value;
    pthread_cond_broadcast(&s->c);
    pthread_mutex_unlock(&s->m);
  }
  sem_post(&s->s);
  pthread_barrier_wait(&s->b);
  return NULL;
}

static void between_processes(int robust, int protocol) {
  struct shared *s = make_shared(robust, protocol);
  pid_t child = fork();
  if (!child) {
    join(start(shared_side, s));
    _exit(3);
  }
  for (int i = 0; i < 200; ++i) {
    pthread_mutex_lock(&s->m);
    while (s->value % 2 == 1) pthread_cond_wait(&s->c, &s->m);
    ++s->value;
    pthread_cond_broadcast(&s->c);
    pthread_mutex_unlock(&s->m);
  }
  sem_wait(&s->s);
  pthread_barrier_wait(&s->b);
  int status;
  waitpid(child, &status, 0);
  say("value %d", s->value);
  say_end("child", status);
}
static void *run_between(void *unused) {
  between_processes(0, 0);
  return unused;
}

CASE(shared_between_processes) {
  between_processes(0, 0);
  join(start(run_between, NULL));
}
CASE(inheriting_between_processes) { between_processes(0, PTHREAD_PRIO_INHERIT); }
CASE(robust_between_processes) { between_processes(PTHREAD_MUTEX_ROBUST, 0); }

static void *dies_with_it(void *unused) {
  struct shared *s = make_shared(PTHREAD_MUTEX_ROBUST, 0);
  pid_t child = fork();
  if (!child) {
    pthread_mutex_lock(&s->m);
    sem_post(&s->s);
    pause();
  }
  sem_wait(&s->s);
  say("try %s", error_name(pthread_mutex_trylock(&s->m)));
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  say("lock %s", error_name(pthread_mutex_lock(&s->m)));
  return unused;
}

CASE(a_process_dies_with_a_robust_mutex) {
  dies_with_it(NULL);
  join(start(dies_with_it, NULL));
}

static void *lock_and_tell(void *at) {
  struct shared *s = at;
  pthread_mutex_lock(&s->m);
  sem_post(&s->s);
  sem_post(&s->s);
  pause();
  return NULL;
}
static void *wait_for_it(void *at) {
  struct shared *s = at;
  return (void *)(long)pthread_mutex_lock(&s->m);
}
// The one that holds it is none that its process began with; others wait for it, here and in the process that ends.
static void *ends_with_it(void *by_exit) {
  struct shared *s = make_shared(PTHREAD_MUTEX_ROBUST, 0);
  pid_t child = fork();
  if (!child) {
    start(lock_and_tell, s);
    sem_wait(&s->s);
    start(wait_for_it, s);
    nap(50);
    if (by_exit) exit(5);
    _exit(5);
  }
  sem_wait(&s->s);
  pthread_t other = start(wait_for_it, s);
  int status;
  waitpid(child, &status, 0);
  say_end("child", status);
  say("lock %s", error_name((int)(long)join(other)));
  return NULL;
}

CASE(a_process_ends_with_a_threads_robust_mutex) {
  ends_with_it(NULL);
  ends_with_it((void *)1);
  join(start(ends_with_it, NULL));
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int items, taken;
static void *consume(void *unused) {
  for (;;) {
    pthread_mutex_lock(&m);
    while (!items) pthread_cond_wait(&c, &m);
    int last = items < 0;
    if (!last) --items, ++taken;
    pthread_mutex_unlock(&m);
    if (last) return unused;
  }
}

CASE(conditions_hand_over) {
  pthread_t threads[10];
  for (int i = 0; i < 10; ++i) threads[i] = start(consume, NULL);
  for (int i = 0; i < 2000; ++i) {
    pthread_mutex_lock(&m);
    ++items;
    pthread_cond_signal(&c);
    pthread_mutex_unlock(&m);
    if (i % 100 == 0) sched_yield();
  }
  for (int left = 1; left;) {
    pthread_mutex_lock(&m);
    left = items;
    if (!left) items = -1;
    pthread_cond_broadcast(&c);
    pthread_mutex_unlock(&m);
    if (left) nap(1);
  }
  for (int i = 0; i < 10; ++i) join(threads[i]);
  say("%d", taken);
}

static long waited(struct timespec since) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (now.tv_sec - since.tv_sec) * 1000 + (now.tv_nsec - since.tv_nsec) / 1000000;
}

CASE(conditions_with_a_time) {
  pthread_cond_t monotonic;
  pthread_condattr_t how;
  pthread_condattr_init(&how);
  pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
  pthread_cond_init(&monotonic, &how);
  pthread_mutex_lock(&m);
  struct timespec began = after(CLOCK_MONOTONIC, 0), soon = after(CLOCK_REALTIME, 30), never = {-1, 0}, wrong = {0, -1};
  say("%s", error_name(pthread_cond_timedwait(&c, &m, &soon)));
  say("long enough %d", waited(began) >= 30);
  began = after(CLOCK_MONOTONIC, 0);
  soon = after(CLOCK_MONOTONIC, 30);
  say("%s", error_name(pthread_cond_timedwait(&monotonic, &m, &soon)));
  say("long enough %d", waited(began) >= 29);
  say("past %s, wrong %s", error_name(pthread_cond_timedwait(&c, &m, &never)), error_name(pthread_cond_timedwait(&c, &m, &wrong)));
  soon = after(CLOCK_MONOTONIC, 30);
  say("%s", error_name(pthread_cond_clockwait(&c, &m, CLOCK_MONOTONIC, &soon)));
  pthread_mutex_unlock(&m);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static int written[2];
static atomic_int torn, readers, most_readers;
static void *read_it(void *unused) {
  for (int i = 0; i < 300; ++i) {
    pthread_rwlock_rdlock(&rw);
    int now = ++readers;
    if (now > most_readers) most_readers = now;
    if (i % 10 == 0) sched_yield();
    torn += written[0] != written[1];
    --readers;
    pthread_rwlock_unlock(&rw);
  }
  return unused;
}
static void *write_it(void *unused) {
  for (int i = 0; i < 300; ++i) {
    pthread_rwlock_wrlock(&rw);
    ++written[0];
    if (i % 10 == 0) sched_yield();
    ++written[1];
    pthread_rwlock_unlock(&rw);
  }
  return unused;
}
static void *rw_errors(void *unused) {
  struct timespec soon = after(CLOCK_REALTIME, 20);
  say("%s %s", error_name(pthread_rwlock_trywrlock(&rw)), error_name(pthread_rwlock_timedwrlock(&rw, &soon)));
  say("%s", error_name(pthread_rwlock_tryrdlock(&rw)));
  return unused;
}

static void *write_twice(void *unused) {
  struct timespec soon = after(CLOCK_REALTIME, 20), later = after(CLOCK_MONOTONIC, 20);
  say("write %s", error_name(pthread_rwlock_wrlock(&rw)));
  say("twice %s", error_name(pthread_rwlock_wrlock(&rw)));
  say("read %s", error_name(pthread_rwlock_rdlock(&rw)));
  say("timed %s", error_name(pthread_rwlock_timedwrlock(&rw, &soon)));
  say("clock %s", error_name(pthread_rwlock_clockrdlock(&rw, CLOCK_MONOTONIC, &later)));
  join(start(rw_errors, NULL));
  say("unlock %s", error_name(pthread_rwlock_unlock(&rw)));
  return unused;
}

CASE(written_twice) {
  write_twice(NULL);
  join(start(write_twice, NULL));
}

CASE(read_write_locks) {
  pthread_t threads[8];
  for (int i = 0; i < 8; ++i) threads[i] = start(i % 4 == 0 ? write_it : read_it, NULL);
  for (int i = 0; i < 8; ++i) join(threads[i]);
  say("written %d torn %d", written[0], torn);
  pthread_rwlock_rdlock(&rw);
  join(start(rw_errors, NULL));
}

static pthread_barrier_t barrier;
static atomic_int serial, arrived;
static void *meet(void *unused) {
  for (int i = 0; i < 50; ++i) {
    ++arrived;
    serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
    if (arrived < (i + 1) * 6) say("early");
  }
  return unused;
}

CASE(barriers) {
  pthread_t threads[6];
  pthread_barrier_init(&barrier, NULL, 6);
  for (int i = 0; i < 6; ++i) threads[i] = start(meet, NULL);
  for (int i = 0; i < 6; ++i) join(threads[i]);
  say("serial %d arrived %d destroy %s", serial, arrived, error_name(pthread_barrier_destroy(&barrier)));
}

static pthread_spinlock_t spin;
static void *spin_count(void *unused) {
  for (int i = 0; i < 20000; ++i) {
    pthread_spin_lock(&spin);
    ++counted;
    pthread_spin_unlock(&spin);
  }
  return unused;
}
static void *spin_hold(void *unused) {
  pthread_spin_lock(&spin);
  nap(30);
  pthread_spin_unlock(&spin);
  return unused;
}

CASE(spin_locks) {
  pthread_t threads[4];
  pthread_spin_init(&spin, 0);
  for (int i = 0; i < 4; ++i) threads[i] = start(i ? spin_count : spin_hold, NULL);
  for (int i = 0; i < 4; ++i) join(threads[i]);
  say("%ld", counted);
}

static sem_t ping, pong;
static void *answer(void *unused) {
  for (int i = 0; i < 2000; ++i) {
    sem_wait(&ping);
    sem_post(&pong);
  }
  return unused;
}

CASE(semaphores) {
  sem_init(&ping, 0, 0);
  sem_init(&pong, 0, 0);
  pthread_t other = start(answer, NULL);
  for (int i = 0; i < 2000; ++i) {
    sem_post(&ping);
    sem_wait(&pong);
  }
  join(other);
  int value = -1;
  struct timespec soon = after(CLOCK_REALTIME, 20);
  say("try %s", outcome(sem_trywait(&ping)));
  say("timed %s", outcome(sem_timedwait(&ping, &soon)));
  soon = after(CLOCK_MONOTONIC, 20);
  say("clock %s", outcome(sem_clockwait(&ping, CLOCK_MONOTONIC, &soon)));
  sem_getvalue(&ping, &value);
  say("value %d", value);
}

CASE(named_semaphores) {
  char name[64];
  snprintf(name, sizeof name, "/program-%d", getpid());
  sem_t *first = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
  pid_t child = fork();
  if (!child) {
    sem_t *same = sem_open(name, 0);
    nap(20);
    sem_post(same);
    _exit(0);
  }
  say("%s", outcome(sem_wait(first)));
  say("%s", outcome(sem_unlink(name)));
  waitpid(child, NULL, 0);
}
