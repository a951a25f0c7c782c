// Threads whose order is chance, and who sleep for hours: see seed_test.py.
#include "program.h"

#include <stdbool.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int both[2];
static bool taken;
static int sitting;

static double clock_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *party(void *p) {
  const long me = (long)p;
  for (int round = 0; round < 3; ++round) {
    pthread_mutex_lock(&lock);
    say("%ld has it at %.9f, %ld", me, clock_now(), (long)time(NULL));
    if (round == 1) nap(5 * (me + 1));
    pthread_mutex_unlock(&lock);
    char byte = (char)('a' + me);
    if (write(both[0], &byte, 1) != 1 || read(both[1], &byte, 1) != 1) _exit(3);
    say("%ld got %c", me, byte);
    sched_yield();
  }
  sleep(3600);
  say("%ld slept until %.9f", me, clock_now());
  return NULL;
}

CASE(course) {
  pthread_t all[4];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, both)) _exit(2);
  for (long i = 0; i < 4; ++i) pthread_create(&all[i], NULL, party, (void *)i);
  for (int i = 0; i < 4; ++i) pthread_join(all[i], NULL);
}

static void *sit_down(void *p) {
  for (long walk = 0; walk < 6 - 4 * (long)p; ++walk) sched_yield();
  if (taken) return NULL;
  sched_yield();
  taken = true;
  ++sitting;
  return NULL;
}

CASE(seat) {
  pthread_t all[2];
  for (long i = 0; i < 2; ++i) pthread_create(&all[i], NULL, sit_down, (void *)i);
  for (int i = 0; i < 2; ++i) pthread_join(all[i], NULL);
  say("%d", sitting);
}

// One thread alone, which may not be left to the kernel either.
CASE(alone) {
  const double began = clock_now();
  sleep(3600);
  struct pollfd none = {-1, 0, 0};
  poll(&none, 1, 3600 * 1000);
  pthread_cond_t never = PTHREAD_COND_INITIALIZER;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 3600;
  pthread_mutex_lock(&lock);
  say("%s", error_name(pthread_cond_timedwait(&never, &lock, &until)));
  sem_t *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  sem_init(shared, 1, 0);
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 1000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  say("%s", outcome(sem_timedwait(shared, &until)));
  say("%d hours", (int)((clock_now() - began) / 3600));
}
