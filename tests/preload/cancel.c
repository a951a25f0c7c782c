// Cancellation in every call that waits: the cleanup handlers run, and the thread ends as cancelled.
#include "program.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <mqueue.h>

static sem_t begun;
static atomic_int cleaned;
static void clean(void *what) { cleaned += what ? 1 : 100; }

struct waiting {
  const char *name;
  void (*wait)(void);
};

static void *run_it(void *what) {
  struct waiting *w = what;
  pthread_cleanup_push(clean, w);
  sem_post(&begun);
  w->wait();
  pthread_cleanup_pop(0);
  return NULL;
}

// Cancels a thread that waits, and one that is cancelled before it waits.
static void cancel_in(struct waiting *list, int count) {
  sem_init(&begun, 0, 0);
  for (int i = 0; i < count; ++i) {
    for (int wait = 0; wait < 2; ++wait) {
      cleaned = 0;
      pthread_t thread = start(run_it, &list[i]);
      sem_wait(&begun);
      if (wait) nap(15);
      int error = pthread_cancel(thread);
      void *value = join(thread);
      say("%s: %s, %s, cleaned %d", list[i].name, error_name(error), value == PTHREAD_CANCELED ? "cancelled" : "ended", cleaned);
    }
  }
}

static int pipe_ends[2], sockets[2], full[2], listener;
static char buffer[65536];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_t never_ends;
static void *rest(void *value) {
  for (;;) nap(100000);
  return value;
}

static void open_all(void) {
  if (pipe(pipe_ends) || pipe(full) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets)) say("no pipes");
  fcntl(full[1], F_SETFL, O_NONBLOCK);
  while (write(full[1], buffer, sizeof buffer) > 0) {}
  fcntl(full[1], F_SETFL, 0);
  fcntl(sockets[0], F_SETFL, O_NONBLOCK);
  while (write(sockets[0], buffer, sizeof buffer) > 0) {}
  fcntl(sockets[0], F_SETFL, 0);
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 5)) say("no listener");
}

static void in_read(void) { if (read(pipe_ends[0], buffer, 1) == 1) say("read"); }
static void in_readv(void) {
  struct iovec v = {buffer, 1};
  if (readv(pipe_ends[0], &v, 1) == 1) say("read");
}
static void in_write(void) { if (write(full[1], buffer, sizeof buffer) > 0) say("written"); }
static void in_recv(void) { if (recv(sockets[0], buffer, 1, 0) > 0) say("received"); }
static void in_recvmsg(void) {
  struct iovec v = {buffer, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  if (recvmsg(sockets[0], &m, 0) > 0) say("received");
}
static void in_send(void) { while (send(sockets[0], buffer, sizeof buffer, 0) > 0) {} }
static void in_accept(void) { if (accept(listener, NULL, NULL) >= 0) say("accepted"); }
static void in_poll(void) {
  struct pollfd p = {pipe_ends[0], POLLIN, 0};
  if (poll(&p, 1, -1) > 0) say("polled");
}
static void in_ppoll(void) {
  struct pollfd p = {pipe_ends[0], POLLIN, 0};
  struct timespec t = {1000, 0};
  if (ppoll(&p, 1, &t, NULL) > 0) say("polled");
}
static void in_select(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipe_ends[0], &set);
  if (select(pipe_ends[0] + 1, &set, NULL, NULL, NULL) > 0) say("selected");
}
static void in_epoll(void) {
  int fd = epoll_create1(0);
  struct epoll_event e;
  if (epoll_wait(fd, &e, 1, -1) > 0) say("told");
}

CASE(in_calls_on_descriptors) {
  struct waiting list[] = {{"read", in_read}, {"readv", in_readv}, {"write", in_write}, {"recv", in_recv},
    {"recvmsg", in_recvmsg}, {"send", in_send}, {"accept", in_accept}, {"poll", in_poll}, {"ppoll", in_ppoll},
    {"select", in_select}, {"epoll_wait", in_epoll}};
  open_all();
  cancel_in(list, sizeof list / sizeof *list);
}

static void in_nanosleep(void) {
  struct timespec t = {1000, 0};
  nanosleep(&t, NULL);
}
static void in_clock_nanosleep(void) {
  struct timespec t = after(CLOCK_REALTIME, 1000000);
  clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
}
static void in_sleep(void) { sleep(1000); }
static void in_usleep(void) { usleep(500000000); }
static void in_pause(void) { pause(); }
static void in_sigsuspend(void) {
  sigset_t none;
  sigemptyset(&none);
  sigsuspend(&none);
}
static void in_sigwait(void) {
  sigset_t set;
  int number;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigwait(&set, &number);
}
static void in_sigtimedwait(void) {
  sigset_t set;
  struct timespec t = {1000, 0};
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigtimedwait(&set, NULL, &t);
}

CASE(in_sleeps_and_signal_waits) {
  struct waiting list[] = {{"nanosleep", in_nanosleep}, {"clock_nanosleep", in_clock_nanosleep}, {"sleep", in_sleep},
    {"usleep", in_usleep}, {"pause", in_pause}, {"sigsuspend", in_sigsuspend}, {"sigwait", in_sigwait},
    {"sigtimedwait", in_sigtimedwait}};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  cancel_in(list, sizeof list / sizeof *list);
}

static void unlock(void *m) {
  // cond_wait takes the mutex again before the handlers run
  say("unlock %s", error_name(pthread_mutex_unlock(m)));
}
static void in_cond_wait(void) {
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(unlock, &mutex);
  for (;;) pthread_cond_wait(&condition, &mutex);
  pthread_cleanup_pop(1);
}
static void in_cond_timedwait(void) {
  struct timespec t = after(CLOCK_REALTIME, 1000000);
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(unlock, &mutex);
  pthread_cond_timedwait(&condition, &mutex, &t);
  pthread_cleanup_pop(1);
}
static sem_t empty;
static void in_sem_wait(void) { sem_wait(&empty); }
static void in_sem_timedwait(void) {
  struct timespec t = after(CLOCK_REALTIME, 1000000);
  sem_timedwait(&empty, &t);
}
static void in_join(void) { pthread_join(never_ends, NULL); }
static void in_testcancel(void) {
  for (;;) {
    pthread_testcancel();
    sched_yield();
  }
}

CASE(in_waits_for_threads) {
  struct waiting list[] = {{"cond_wait", in_cond_wait}, {"cond_timedwait", in_cond_timedwait}, {"sem_wait", in_sem_wait},
    {"sem_timedwait", in_sem_timedwait}, {"join", in_join}, {"testcancel", in_testcancel}};
  pthread_mutexattr_t checked;
  pthread_mutexattr_init(&checked);
  pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&mutex, &checked);
  sem_init(&empty, 0, 0);
  never_ends = start(rest, NULL);
  cancel_in(list, sizeof list / sizeof *list);
}

static pid_t child;
static void in_waitpid(void) { waitpid(child, NULL, 0); }
static void in_wait(void) { wait(NULL); }
static void in_waitid(void) {
  siginfo_t info;
  waitid(P_PID, (id_t)child, &info, WEXITED);
}
static void in_open(void) { if (open("fifo", O_RDONLY) >= 0) say("opened"); }
static int locked_fd;
static void in_setlkw(void) {
  struct flock all = {.l_type = F_WRLCK};
  fcntl(locked_fd, F_SETLKW, &all);
}
static int queue;
static void in_msgrcv(void) {
  char room[64];
  msgrcv(queue, room, 32, 0, 0);
}
static void in_mq_receive(void) {
  char name[64], room[64];
  snprintf(name, sizeof name, "/program-%d", getpid());
  struct mq_attr how = {.mq_maxmsg = 1, .mq_msgsize = 64};
  mqd_t mails = mq_open(name, O_CREAT | O_RDWR, 0600, &how);
  mq_unlink(name);
  if (mails >= 0) mq_receive(mails, room, sizeof room, NULL);
}

CASE(in_waits_in_the_kernel) {
  struct waiting list[] = {{"waitpid", in_waitpid}, {"wait", in_wait}, {"waitid", in_waitid}, {"open", in_open},
    {"fcntl", in_setlkw}, {"msgrcv", in_msgrcv}, {"mq_receive", in_mq_receive}};
  mkfifo("fifo", 0600);
  queue = msgget(IPC_PRIVATE, 0600);
  locked_fd = open("locked", O_CREAT | O_RDWR, 0600);
  int ends[2];
  if (pipe(ends)) say("no pipe");
  child = fork();
  if (!child) {
    struct flock all = {.l_type = F_WRLCK};
    fcntl(locked_fd, F_SETLK, &all);
    if (write(ends[1], "", 1) != 1) _exit(1);
    for (;;) pause();
  }
  if (read(ends[0], buffer, 1) != 1) say("no child");
  cancel_in(list, sizeof list / sizeof *list);
  msgctl(queue, IPC_RMID, NULL);
  kill(child, SIGKILL);
}

static void *disabled(void *unused) {
  int before;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  sem_post(&begun);
  nap(40);
  say("still there");
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
  nap(100000);
  return unused;
}
static void *at_any_time(void *unused) {
  int before;
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
  sem_post(&begun);
  for (volatile long n = 0;; ++n) {}
  return unused;
}

CASE(states_and_types) {
  sem_init(&begun, 0, 0);
  pthread_t thread = start(disabled, NULL);
  sem_wait(&begun);
  say("%s", error_name(pthread_cancel(thread)));
  say("%d", join(thread) == PTHREAD_CANCELED);
  thread = start(at_any_time, NULL);
  sem_wait(&begun);
  nap(10);
  say("%s", error_name(pthread_cancel(thread)));
  say("%d", join(thread) == PTHREAD_CANCELED);
}

static pthread_key_t key;
static void destroy(void *value) { say("destroyed %ld", (long)value); }
static void *with_key(void *value) {
  pthread_setspecific(key, value);
  pthread_cancel(pthread_self());
  pthread_testcancel();
  return value;
}

CASE(keys_are_destroyed) {
  pthread_key_create(&key, destroy);
  say("%d", join(start(with_key, (void *)3)) == PTHREAD_CANCELED);
}

CASE(many_at_once) {
  static pthread_t threads[200];
  int cancelled = 0;
  for (int i = 0; i < 200; ++i) threads[i] = start(rest, NULL);
  nap(10);
  for (int i = 0; i < 200; ++i) pthread_cancel(threads[i]);
  for (int i = 0; i < 200; ++i) cancelled += join(threads[i]) == PTHREAD_CANCELED;
  say("%d", cancelled);
}
