// Threads that meet wherever the runtime's own threads race: see races_test.py.
#include "program.h"

// Opening a FIFO waits in the kernel until the other end is opened: just as long as it takes to lose the worker.
enum { rounds = 30 };
static char paths[4][rounds][20];
static void *open_and_read(void *number) {
  long got = 0;
  for (int i = 0; i < rounds; ++i) {
    int fd = open(paths[(long)number][i], O_RDONLY);
    char c = 0;
    if (read(fd, &c, 1) == 1) got += c;
    close(fd);
  }
  return (void *)got;
}
static void *open_and_write(void *number) {
  for (int i = 0; i < rounds; ++i) {
    nap(1 + i % 7);
    int fd = open(paths[(long)number][i], O_WRONLY);
    char c = (char)i;
    if (write(fd, &c, 1) != 1) say("write: %s", error_name(errno));
    close(fd);
  }
  return NULL;
}
CASE(stuck_calls) {
  pthread_t threads[8];
  for (long i = 0; i < 4; ++i) {
    for (int n = 0; n < rounds; ++n) {
      snprintf(paths[i][n], sizeof paths[i][n], "fifo%ld-%d", i, n);
      if (mkfifo(paths[i][n], 0600)) say("mkfifo: %s", error_name(errno));
    }
    threads[2 * i] = start(open_and_read, (void *)i);
    threads[2 * i + 1] = start(open_and_write, (void *)i);
  }
  for (int i = 0; i < 4; ++i) {
    say("read %ld", (long)join(threads[2 * i]));
    join(threads[2 * i + 1]);
  }
}

// A ball goes round; only who has it may throw.
enum { players = 5, throws = 3000 };
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t passed[players];
static int ball;
static sem_t whistle[2];
static void *play(void *number) {
  const int me = (int)(long)number;
  for (;;) {
    pthread_mutex_lock(&table);
    while (ball < throws && ball % players != me) pthread_cond_wait(&passed[me], &table);
    int over = ball >= throws;
    if (!over) ++ball;
    pthread_mutex_unlock(&table);
    pthread_cond_signal(&passed[(me + 1) % players]);
    if (over) return NULL;
  }
}
static void *answer(void *unused) {
  for (int i = 0; i < throws; ++i) {
    sem_wait(&whistle[0]);
    sem_post(&whistle[1]);
  }
  return unused;
}
CASE(hand_overs) {
  pthread_t threads[players], other;
  sem_init(&whistle[0], 0, 0);
  sem_init(&whistle[1], 0, 0);
  for (int i = 0; i < players; ++i) pthread_cond_init(&passed[i], NULL);
  for (long i = 0; i < players; ++i) threads[i] = start(play, (void *)i);
  other = start(answer, NULL);
  for (int i = 0; i < throws; ++i) {
    sem_post(&whistle[0]);
    sem_wait(&whistle[1]);
  }
  join(other);
  for (int i = 0; i < players; ++i) join(threads[i]);
  say("thrown %d", ball);
}

// All want the same word.
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
static int inside;
static void *squeeze(void *unused) {
  for (int i = 0; i < 1500; ++i) {
    pthread_mutex_lock(&door);
    int before = inside;
    if (i % 16 == 0) sched_yield();
    inside = before + 1;
    pthread_mutex_unlock(&door);
  }
  return unused;
}
CASE(crowd) {
  pthread_t threads[12];
  for (int i = 0; i < 12; ++i) threads[i] = start(squeeze, NULL);
  for (int i = 0; i < 12; ++i) join(threads[i]);
  say("went in %d", inside);
}

// The next thread gets the stack of the one before.
static void *live(void *number) {
  volatile char room[2000];
  memset((void *)room, (int)(long)number, sizeof room);
  sched_yield();
  for (size_t i = 0; i < sizeof room; ++i) {
    if (room[i] != (char)(long)number) say("room %zu", i);
  }
  return number;
}
static void *bear(void *first) {
  long sum = 0;
  for (long i = (long)first; i < (long)first + 400; ++i) sum += (long)join(start(live, (void *)i));
  return (void *)sum;
}
CASE(short_lives) {
  pthread_t threads[4];
  for (long i = 0; i < 4; ++i) threads[i] = start(bear, (void *)(i * 1000));
  for (int i = 0; i < 4; ++i) say("sum %ld", (long)join(threads[i]));
}

// Calls and sums in turn, so that a slice may end in either.
static int ends[2];
static void *compute(void *number) {
  double sum = 0;
  char c;
  for (int i = 1; i < 30000; ++i) {
    sum += 1.0 / i;
    if (i % 3 == 0 && write(ends[1], "x", 1) == 1 && read(ends[0], &c, 1) != 1) say("read: %s", error_name(errno));
    if (i % 7 == 0) syscall(SYS_getppid);
  }
  say("%.6f", sum);
  return number;
}
CASE(computing) {
  pthread_t threads[4];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) say("socketpair: %s", error_name(errno));
  for (int i = 0; i < 4; ++i) threads[i] = start(compute, NULL);
  for (int i = 0; i < 4; ++i) join(threads[i]);
}
