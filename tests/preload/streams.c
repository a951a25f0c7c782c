// Descriptors between threads: pipes, sockets, names in the file system, events, timers, watches.
#include "program.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

static void *echo(void *fd) {
  char room[1000];
  long n, all = 0;
  while ((n = read((int)(long)fd, room, sizeof room)) > 0) {
    all += n;
    if (write((int)(long)fd, room, (size_t)n) != n) break;
  }
  close((int)(long)fd);
  return (void *)all;
}

static int listen_at(struct sockaddr_in *at) {
  socklen_t size = sizeof *at;
  int l = socket(AF_INET, SOCK_STREAM, 0);
  memset(at, 0, sizeof *at);
  at->sin_family = AF_INET;
  at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(l, (struct sockaddr *)at, size) || listen(l, 100)) say("no listener");
  getsockname(l, (struct sockaddr *)at, &size);
  return l;
}

static struct sockaddr_in address;
static void *talk(void *seed) {
  char out[1000], in[1000];
  int fd = socket(AF_INET, SOCK_STREAM, 0), wrong = connect(fd, (struct sockaddr *)&address, sizeof address);
  for (int i = 0; i < 20; ++i) {
    memset(out, (int)(long)seed + i, sizeof out);
    wrong += send(fd, out, sizeof out, 0) != sizeof out || recv(fd, in, sizeof in, MSG_WAITALL) != sizeof in ||
             memcmp(in, out, sizeof in) != 0;
  }
  close(fd);
  return (void *)(long)wrong;
}
static void *serve(void *listener) {
  pthread_t threads[20];
  long all = 0;
  for (int i = 0; i < 20; ++i) threads[i] = start(echo, (void *)(long)accept((int)(long)listener, NULL, NULL));
  for (int i = 0; i < 20; ++i) all += (long)join(threads[i]);
  return (void *)all;
}

CASE(a_thread_for_each_connection) {
  pthread_t clients[20], server = start(serve, (void *)(long)listen_at(&address));
  long wrong = 0;
  for (long i = 0; i < 20; ++i) clients[i] = start(talk, (void *)i);
  for (int i = 0; i < 20; ++i) wrong += (long)join(clients[i]);
  say("wrong %ld all %ld", wrong, (long)join(server));
}

static int ends[2];
static void *pour(void *bytes) {
  char *much = malloc((size_t)bytes);
  memset(much, 'x', (size_t)bytes);
  long n = write(ends[1], much, (size_t)bytes);
  close(ends[1]);
  return (void *)n;
}

CASE(a_write_that_waits_is_whole) {
  char room[7000];
  long n, all = 0;
  if (pipe(ends)) say("no pipe");
  pthread_t thread = start(pour, (void *)1000000);
  while ((n = read(ends[0], room, sizeof room)) > 0) all += n;
  say("%ld %ld end %ld", all, (long)join(thread), n);
}

static void *open_to_write(void *unused) {
  nap(20);
  int fd = open("fifo", O_WRONLY);
  say("wrote %ld", (long)write(fd, "through", 7));
  close(fd);
  return unused;
}

CASE(fifos_by_name) {
  char text[16] = "";
  mkfifo("fifo", 0600);
  pthread_t thread = start(open_to_write, NULL);
  int fd = open("fifo", O_RDONLY);
  long n = read(fd, text, sizeof text);
  join(thread);
  say("read %ld %s then %ld", n, text, (long)read(fd, text, sizeof text));
}

static void *close_other_end(void *fd) {
  nap(20);
  close((int)(long)fd);
  return NULL;
}

CASE(ends_and_broken_pipes) {
  char c;
  int s[2];
  signal(SIGPIPE, SIG_IGN);
  if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, s)) say("no pipe");
  pthread_t thread = start(close_other_end, (void *)(long)ends[1]);
  say("end %ld", (long)read(ends[0], &c, 1));
  join(thread);
  thread = start(close_other_end, (void *)(long)s[1]);
  say("end %ld", (long)recv(s[0], &c, 1, 0));
  join(thread);
  say("send %s", outcome(send(s[0], "x", 1, 0)));
  if (pipe(ends)) say("no pipe");
  close(ends[0]);
  say("write %s", outcome(write(ends[1], "x", 1)));
}

static void *shut(void *fd) {
  nap(20);
  shutdown((int)(long)fd, SHUT_RDWR);
  return NULL;
}

CASE(shutdown_ends_waits) {
  char c;
  int s[2], l = listen_at(&address);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, s)) say("no pair");
  pthread_t thread = start(shut, (void *)(long)s[0]);
  say("recv %ld", (long)recv(s[0], &c, 1, 0));
  join(thread);
  thread = start(shut, (void *)(long)l);
  say("accept %s", outcome(accept(l, NULL, NULL)));
  join(thread);
}

CASE(refused_and_timeouts) {
  char c;
  int l = listen_at(&address), fd = socket(AF_INET, SOCK_STREAM, 0);
  close(l);
  say("connect %s", outcome(connect(fd, (struct sockaddr *)&address, sizeof address)));
  struct timeval t = {0, 30000};
  int s[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, s)) say("no pair");
  setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  say("recv %s", outcome(recv(s[0], &c, 1, 0)));
  say("recv at once %s", outcome(recv(s[0], &c, 1, MSG_DONTWAIT)));
  fcntl(s[0], F_SETFL, O_NONBLOCK);
  say("flags %d read %s", (fcntl(s[0], F_GETFL) & O_NONBLOCK) != 0, outcome(read(s[0], &c, 1)));
  int off = 0;
  ioctl(s[0], FIONBIO, &off);
  say("flags %d", (fcntl(s[0], F_GETFL) & O_NONBLOCK) != 0);
}

static void *signal_event(void *fd) {
  uint64_t n = 1;
  for (int i = 0; i < 100; ++i) {
    if (write((int)(long)fd, &n, sizeof n) != sizeof n) say("no write");
    if (i % 10 == 0) nap(1);
  }
  return NULL;
}

CASE(event_counters) {
  int fd = eventfd(0, 0), semaphore = eventfd(3, EFD_SEMAPHORE);
  uint64_t n, all = 0;
  pthread_t thread = start(signal_event, (void *)(long)fd);
  while (all < 100 && read(fd, &n, sizeof n) == sizeof n) all += n;
  join(thread);
  say("%lu", (unsigned long)all);
  for (int i = 0; i < 3; ++i)
    if (read(semaphore, &n, sizeof n) == sizeof n) say("one %lu", (unsigned long)n);
}

static void *read_timer(void *fd) {
  uint64_t n = 0, all = 0;
  while (all < 5 && read((int)(long)fd, &n, sizeof n) == sizeof n) all += n;
  return (void *)(long)(all >= 5);
}

CASE(timer_descriptors) {
  int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec every = {{0, 5000000}, {0, 5000000}};
  pthread_t thread = start(read_timer, (void *)(long)fd);
  nap(5);
  timerfd_settime(fd, 0, &every, NULL);
  say("%ld", (long)join(thread));
}

static void *make_file(void *unused) {
  nap(20);
  close(open("made", O_CREAT | O_WRONLY, 0600));
  return unused;
}

CASE(watches) {
  char room[4096] __attribute__((aligned(8)));
  int fd = inotify_init1(0);
  inotify_add_watch(fd, ".", IN_CREATE);
  pthread_t thread = start(make_file, NULL);
  long n = read(fd, room, sizeof room);
  struct inotify_event *e = (struct inotify_event *)room;
  say("%d %s mask %x", n > 0, e->name, e->mask);
  join(thread);
}

static int epoll_fd;
static void *wait_in_epoll(void *unused) {
  struct epoll_event e[4];
  int n = epoll_wait(epoll_fd, e, 4, 5000);
  say("%d events %x data %d", n, e[0].events, e[0].data.fd == ends[0]);
  return unused;
}

CASE(epoll_between_threads) {
  char c;
  if (pipe(ends)) say("no pipe");
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = ends[0]};
  pthread_t thread = start(wait_in_epoll, NULL);
  nap(10);
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, ends[0], &e);  // while it waits
  nap(10);
  if (write(ends[1], "x", 1) != 1) say("no write");
  join(thread);
  if (read(ends[0], &c, 1) != 1) say("no read");
  struct epoll_event none[1];
  say("expired %d", epoll_wait(epoll_fd, none, 1, 20));
  e.events = EPOLLIN | EPOLLONESHOT;
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, ends[0], &e);
  if (write(ends[1], "x", 1) != 1) say("no write");
  int first = epoll_wait(epoll_fd, none, 1, 100);
  say("once %d then %d", first, epoll_wait(epoll_fd, none, 1, 60));
}

static sem_t looked;

static void *poll_several(void *unused) {
  struct pollfd p[3] = {{ends[0], POLLIN, 0}, {-1, POLLIN, 0}, {999, POLLIN, 0}};
  int n = poll(p, 3, 5000);
  say("bad %d %x", n, p[2].revents);
  sem_post(&looked);
  n = poll(p, 2, 5000);
  say("%d %x %x", n, p[0].revents, p[1].revents);
  fd_set set;
  struct timeval t = {5, 0};
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  say("select %d rest %d", select(ends[0] + 1, &set, NULL, NULL, &t), t.tv_sec >= 3);
  return unused;
}

CASE(poll_and_select) {
  if (pipe(ends)) say("no pipe");
  sem_init(&looked, 0, 0);
  pthread_t thread = start(poll_several, NULL);
  sem_wait(&looked);
  nap(20);
  if (write(ends[1], "x", 1) != 1) say("no write");
  join(thread);
}

static void *resolve(void *unused) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
  int error = getaddrinfo("localhost", "80", &hints, &found);
  long well = !error && ((struct sockaddr_in *)found->ai_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
  if (found) freeaddrinfo(found);
  return unused ? unused : (void *)well;
}

CASE(names_of_hosts) {
  pthread_t threads[10];
  long well = 0;
  for (int i = 0; i < 10; ++i) threads[i] = start(resolve, NULL);
  for (int i = 0; i < 10; ++i) well += (long)join(threads[i]);
  say("%ld", well);
}

static void *send_file(void *fd) {
  int from = open("data", O_RDONLY);
  long n, all = 0;
  while ((n = sendfile((int)(long)fd, from, NULL, 500000)) > 0) all += n;
  close(from);
  shutdown((int)(long)fd, SHUT_WR);
  return (void *)all;
}

CASE(files_to_sockets) {
  static char much[700000], room[10000];
  int s[2], fd = open("data", O_CREAT | O_WRONLY, 0600);
  if (write(fd, much, sizeof much) != sizeof much || socketpair(AF_UNIX, SOCK_STREAM, 0, s)) say("nothing to send");
  pthread_t thread = start(send_file, (void *)(long)s[1]);
  long n, all = 0;
  while ((n = recv(s[0], room, sizeof room, 0)) > 0) all += n;
  say("%ld %ld", all, (long)join(thread));
}

static void *get_descriptor(void *fd) {
  char c, control[64];
  struct iovec v = {&c, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  say("got %ld", (long)recvmsg((int)(long)fd, &m, 0));
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  int passed;
  memcpy(&passed, CMSG_DATA(h), sizeof passed);
  say("passed %ld", (long)write(passed, "through it", 10));
  close(passed);
  return NULL;
}

CASE(descriptors_are_passed) {
  char control[64] = {0}, text[16] = "";
  int s[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM, 0, s) || pipe(ends)) say("no pair");
  pthread_t thread = start(get_descriptor, (void *)(long)s[1]);
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int))};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(h), &ends[1], sizeof(int));
  nap(10);
  sendmsg(s[0], &m, 0);
  close(ends[1]);
  long n = read(ends[0], text, sizeof text);
  say("%ld %s end %ld", n, text, (long)read(ends[0], text, 1));
  join(thread);
}
