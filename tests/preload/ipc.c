// Waits between processes and threads that the kernel keeps: record locks, System V and POSIX queues and semaphores.
#include "program.h"

#include <mqueue.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static char folder_file[] = "locked";
static sem_t begun;

static void *take_flock(void *unused) {
  int fd = open(folder_file, O_RDWR | O_CREAT, 0600);
  say("try %s", outcome(flock(fd, LOCK_EX | LOCK_NB)));
  sem_post(&begun);
  say("lock %s", outcome(flock(fd, LOCK_EX)));
  close(fd);
  return unused;
}

CASE(flock_between_threads) {
  sem_init(&begun, 0, 0);
  int fd = open(folder_file, O_RDWR | O_CREAT, 0600);
  flock(fd, LOCK_EX);
  pthread_t thread = start(take_flock, NULL);
  sem_wait(&begun);
  nap(30);
  say("unlock");
  flock(fd, LOCK_UN);
  join(thread);
}

static int lock_whole(int fd, int command, short type) {
  struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
  return fcntl(fd, command, &whole);
}
static void *take_record_lock(void *unused) {
  int fd = open(folder_file, O_RDWR | O_CREAT, 0600);
  say("lock %s", outcome(lock_whole(fd, F_SETLKW, F_WRLCK)));
  return unused;
}

CASE(record_locks_between_processes) {
  int fd = open(folder_file, O_RDWR | O_CREAT, 0600), ends[2];
  char c;
  if (pipe(ends)) say("no pipe");
  pid_t child = fork();
  if (!child) {
    lock_whole(fd, F_SETLK, F_WRLCK);
    if (write(ends[1], "", 1) != 1) _exit(1);
    nap(60);
    say("released");
    _exit(0);
  }
  if (read(ends[0], &c, 1) != 1) say("no child");
  say("try %s", outcome(lock_whole(fd, F_SETLK, F_WRLCK)));
  join(start(take_record_lock, NULL));
  waitpid(child, NULL, 0);
}

static void *take_description_lock(void *unused) {
  int fd = open(folder_file, O_RDWR | O_CREAT, 0600);
  say("try %s", outcome(lock_whole(fd, F_OFD_SETLK, F_WRLCK)));
  sem_post(&begun);
  say("lock %s", outcome(lock_whole(fd, F_OFD_SETLKW, F_WRLCK)));
  return unused;
}

CASE(description_locks_between_threads) {
  sem_init(&begun, 0, 0);
  int fd = open(folder_file, O_RDWR | O_CREAT, 0600);
  lock_whole(fd, F_OFD_SETLK, F_WRLCK);
  pthread_t thread = start(take_description_lock, NULL);
  sem_wait(&begun);
  nap(20);
  say("close");
  close(fd);
  join(thread);
}

struct mail {
  long kind;
  char text[32];
};
static int queue;
static void *receive(void *kind) {
  struct mail m = {0};
  long n = msgrcv(queue, &m, sizeof m.text, (long)kind, 0);
  return (void *)(n == sizeof m.text ? m.kind * 10 + m.text[0] - '0' : -1);
}

CASE(message_queues) {
  pthread_t threads[3];
  queue = msgget(IPC_PRIVATE, 0600);
  for (long i = 0; i < 3; ++i) threads[i] = start(receive, (void *)(i + 1));
  nap(20);
  for (long i = 3; i > 0; --i) {
    struct mail m = {i, "0"};
    m.text[0] = (char)('0' + i);
    say("%s", outcome(msgsnd(queue, &m, sizeof m.text, 0)));
  }
  for (int i = 0; i < 3; ++i) say("%ld", (long)join(threads[i]));
  pthread_t last = start(receive, (void *)1);
  nap(20);
  msgctl(queue, IPC_RMID, NULL);
  say("%ld", (long)join(last));
}

static int semaphores;
static void *down(void *number) {
  struct sembuf one = {(unsigned short)(long)number, -1, 0};
  return (void *)(long)(semop(semaphores, &one, 1) ? errno : 0);
}

CASE(system_v_semaphores) {
  semaphores = semget(IPC_PRIVATE, 2, 0600);
  pthread_t first = start(down, (void *)0), second = start(down, (void *)1);
  nap(20);
  struct sembuf up[2] = {{0, 1, 0}, {1, 1, 0}}, soon = {0, -1, 0};
  say("%s", outcome(semop(semaphores, up, 2)));
  say("%ld %ld", (long)join(first), (long)join(second));
  struct timespec t = {0, 20000000};
  say("%s", outcome(semtimedop(semaphores, &soon, 1, &t)));
  first = start(down, (void *)0);
  nap(20);
  semctl(semaphores, 0, IPC_RMID);
  say("%s", error_name((int)(long)join(first)));
}

static mqd_t mails;
static void *receive_mail(void *unused) {
  char text[64];
  unsigned priority;
  long n = mq_receive(mails, text, sizeof text, &priority);
  say("%ld %.5s priority %u", n, text, priority);
  return unused;
}
static void *send_mail(void *unused) {
  return unused ? unused : (void *)(long)mq_send(mails, "later", 5, 1);
}

CASE(posix_message_queues) {
  char name[64], text[64];
  snprintf(name, sizeof name, "/program-%d", getpid());
  struct mq_attr how = {.mq_maxmsg = 1, .mq_msgsize = 64};
  mails = mq_open(name, O_CREAT | O_RDWR, 0600, &how);
  mq_unlink(name);
  pthread_t thread = start(receive_mail, NULL);
  nap(20);
  mq_send(mails, "first", 5, 7);
  join(thread);
  mq_send(mails, "again", 5, 2);
  thread = start(send_mail, NULL);
  nap(20);
  say("%ld", (long)mq_receive(mails, text, sizeof text, NULL));
  say("sent %ld", (long)join(thread));
  say("%ld", (long)mq_receive(mails, text, sizeof text, NULL));
  struct timespec soon = after(CLOCK_REALTIME, 20);
  say("%s", outcome(mq_timedreceive(mails, text, sizeof text, NULL, &soon)));
}

CASE(shared_memory) {
  int id = shmget(IPC_PRIVATE, 4096, 0600);
  sem_t *s = shmat(id, NULL, 0);
  shmctl(id, IPC_RMID, NULL);
  sem_init(s, 1, 0);
  pid_t child = fork();
  if (!child) {
    nap(20);
    sem_post(s);
    _exit(0);
  }
  say("%s", outcome(sem_wait(s)));
  waitpid(child, NULL, 0);
}
