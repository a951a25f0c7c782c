// Waits for several things at once, and what a call is given that is no memory.
#include "program.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/select.h>

static atomic_int handled;
static void handler(int number) {
  (void)number;
  ++handled;
}

static void *kill_process(void *unused) {
  nap(100);
  kill(getpid(), SIGUSR1);
  return unused;
}

static void wait_with_mask(int how) {
  sigset_t none;
  sigemptyset(&none);
  struct timespec most = {5, 0};
  struct epoll_event event;
  handled = 0;
  long answer;
  if (how == 0) {
    answer = pselect(0, NULL, NULL, NULL, &most, &none);
  } else if (how == 1) {
    answer = ppoll(NULL, 0, &most, &none);
  } else {
    int set = epoll_create1(0);
    answer = epoll_pwait(set, &event, 1, 5000, &none);
    int error = errno;
    close(set);
    errno = error;
  }
  const char *ended = outcome(answer);
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  say("%d: %s, handled %d, blocked %d", how, ended, handled, sigismember(&now, SIGUSR1));
}

static void block_and_handle(void) {
  signal(SIGUSR1, handler);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
}

CASE(a_blocked_signal_comes_in_while_the_only_thread_waits) {
  block_and_handle();
  for (int how = 0; how < 3; ++how) {
    raise(SIGUSR1);
    wait_with_mask(how);
  }
}

CASE(a_blocked_signal_comes_in_while_a_thread_waits) {
  block_and_handle();
  for (int how = 0; how < 3; ++how) {
    pthread_t killer = start(kill_process, NULL);
    wait_with_mask(how);
    join(killer);
  }
}

static int ends[2];

static void *read_some(void *unused) {
  char buffer[100];
  say("read %zd", read(ends[0], buffer, sizeof buffer));
  return unused;
}

static void *write_much(void *unused) {
  static char much[4 << 20];
  say("wrote %zd", write(ends[0], much, sizeof much));
  return unused;
}

CASE(a_reader_and_a_writer_wait_long_for_one_socket) {
  socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
  pthread_t reader = start(read_some, NULL);
  nap(50);
  pthread_t writer = start(write_much, NULL);
  nap(700);
  if (write(ends[1], "hello", 5) != 5) say("write: %s", error_name(errno));
  join(reader);
  static char buffer[1 << 20];
  long total = 0;
  for (ssize_t n; total < 4 << 20 && (n = read(ends[1], buffer, sizeof buffer)) > 0;) total += n;
  join(writer);
  say("%ld came", total);
}

static void connect_pair(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  bind(listener, (struct sockaddr *)&address, size);
  listen(listener, 1);
  getsockname(listener, (struct sockaddr *)&address, &size);
  ends[0] = socket(AF_INET, SOCK_STREAM, 0);
  connect(ends[0], (struct sockaddr *)&address, size);
  ends[1] = accept(listener, NULL, NULL);
  close(listener);
}

static void *act(void *what) {
  nap(100);
  switch ((long)what) {
    case 'o': send(ends[1], "o", 1, MSG_OOB); break;
    case 'd': send(ends[1], "data", 4, 0); break;
    case 's': shutdown(ends[1], SHUT_WR); break;
    case 'c': close(ends[1]); break;
  }
  return NULL;
}

static void ask(short events, long what, int milliseconds) {
  pthread_t actor = start(act, (void *)what);
  struct pollfd p = {ends[0], events, 0};
  int ready = poll(&p, 1, milliseconds);
  say("%x, %c: %d %x", events, (char)what, ready, p.revents);
  join(actor);
  char buffer[16];
  if (what == 'd') recv(ends[0], buffer, sizeof buffer, MSG_DONTWAIT);
}

CASE(poll_tells_of_priority_data_and_half_closes) {
  connect_pair();
  ask(POLLIN, 'd', 5000);
  ask(POLLIN | POLLPRI, 'd', 5000);
  ask(POLLIN | POLLPRI, 'o', 5000);
  ask(POLLIN, '-', 300);  // priority data alone is nothing to read
  ask(POLLIN, 'd', 5000);
  ask(POLLIN | POLLRDHUP, 's', 5000);
  close(ends[0]);
  close(ends[1]);
  connect_pair();
  ask(POLLPRI, 'o', 5000);
  ask(POLLRDHUP, 's', 5000);
  close(ends[0]);
  close(ends[1]);
  connect_pair();
  ask(POLLIN | POLLRDHUP | POLLPRI, 'c', 5000);
}

static void give_bad_pointers(void) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  char *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(edge + 4096, 4096);
  say("sigprocmask: %s", outcome(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 16, 0, 8)));
  say("across an edge: %s", outcome(syscall(SYS_rt_sigprocmask, SIG_BLOCK, edge + 4092, 0, 8)));
  say("sendmsg: %s", outcome(syscall(SYS_sendmsg, pair[0], 0x1000, 0)));
  say("no address at all: %s", outcome(syscall(SYS_sendmsg, pair[0], 0xdead000000000000, 0)));
  say("nanosleep: %s", outcome(syscall(SYS_nanosleep, 8, 0)));
  say("writev: %s", outcome(syscall(SYS_writev, pair[0], 1, 1)));
}

static void *wait_for_ever(void *unused) {
  pause();
  return unused;
}

CASE(bad_pointers_are_refused) {
  give_bad_pointers();
  start(wait_for_ever, NULL);
  nap(20);
  give_bad_pointers();
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  give_bad_pointers();
}
