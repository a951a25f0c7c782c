// Processes that a program with threads makes, and waits for.
#include "program.h"

#include <spawn.h>
#include <sys/resource.h>

extern char **environ;

static void *idle(void *value) {
  for (;;) nap(1000);
  return value;
}
static void *add_one(void *value) { return (void *)((long)value + 1); }

static void *fork_and_wait(void *status) {
  pid_t child = fork();
  if (!child) {
    // The child has one thread, and may make others.
    long sum = 0;
    for (long i = 0; i < 5; ++i) sum += (long)join(start(add_one, (void *)i));
    nap(5);
    _exit(sum == 15 && gettid() == getpid() ? (int)(long)status : 77);
  }
  int how;
  if (waitpid(child, &how, 0) != child) say("not mine");
  return (void *)(long)WEXITSTATUS(how);
}

CASE(fork_from_threads) {
  pthread_t threads[8];
  long sum = 0;
  start(idle, NULL);
  for (long i = 0; i < 8; ++i) threads[i] = start(fork_and_wait, (void *)i);
  for (int i = 0; i < 8; ++i) sum += (long)join(threads[i]);
  say("%ld", sum);
  say("main's %ld", (long)fork_and_wait((void *)9));
}

static atomic_int prepared, parents, children;
static void prepare(void) { ++prepared; }
static void in_parent(void) { ++parents; }
static void in_child(void) { ++children; }

CASE(fork_handlers) {
  pthread_atfork(prepare, in_parent, in_child);
  join(start(fork_and_wait, (void *)1));
  pid_t child = fork();
  if (!child) {
    say("child %d %d %d", prepared, parents, children);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  say("parent %d %d %d", prepared, parents, children);
}

static void *vfork_and_exec(void *status) {
  char text[16];
  snprintf(text, sizeof text, "exit %ld", (long)status);
  char *arguments[] = {"sh", "-c", text, NULL};
  pid_t child = vfork();
  if (!child) {
    execve("/bin/sh", arguments, environ);
    _exit(66);
  }
  int how;
  if (waitpid(child, &how, 0) != child) say("not mine");
  return (void *)(long)WEXITSTATUS(how);
}

CASE(vfork_from_threads) {
  pthread_t threads[6];
  long sum = 0;
  for (long i = 0; i < 6; ++i) threads[i] = start(vfork_and_exec, (void *)(i + 1));
  for (int i = 0; i < 6; ++i) sum += (long)join(threads[i]);
  say("%ld, main's %ld", sum, (long)vfork_and_exec((void *)3));
}

static void *vfork_and_exit(void *status) {
  pid_t child = vfork();
  if (!child) _exit((int)(long)status);
  int how;
  waitpid(child, &how, 0);
  return (void *)(long)WEXITSTATUS(how);
}

CASE(vfork_without_exec) { say("%ld %ld", (long)join(start(vfork_and_exit, (void *)4)), (long)vfork_and_exit((void *)5)); }

static void *spawn_it(void *file) {
  char *arguments[] = {"sh", "-c", "echo spawned; exit 3", NULL};
  pid_t child;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, file, O_CREAT | O_WRONLY | O_TRUNC, 0600);
  int error = posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, environ), how;
  waitpid(child, &how, 0);
  return (void *)(long)(error ? 100 + error : WEXITSTATUS(how));
}

CASE(posix_spawn_from_threads) {
  pthread_t threads[4];
  char names[4][8], line[32] = "";
  for (int i = 0; i < 4; ++i) {
    snprintf(names[i], sizeof names[i], "out%d", i);
    threads[i] = start(spawn_it, names[i]);
  }
  for (int i = 0; i < 4; ++i) {
    say("%ld", (long)join(threads[i]));
    int fd = open(names[i], O_RDONLY);
    long n = read(fd, line, sizeof line - 1);
    say("%ld %.7s", n, line);
  }
  pid_t child;
  char *arguments[] = {"none", NULL};
  say("%s", error_name(posix_spawn(&child, "/no/such/program", NULL, NULL, arguments, environ)));
}

static void *run_system(void *status) {
  char text[32];
  snprintf(text, sizeof text, "exit %ld", (long)status);
  int how = system(text);
  return (void *)(long)WEXITSTATUS(how);
}
static void *run_popen(void *unused) {
  char line[64] = "";
  FILE *from = popen("echo hello; echo world", "r");
  long bytes = 0;
  while (fgets(line, sizeof line, from)) bytes += (long)strlen(line);
  say("%ld bytes, end %d", bytes, WEXITSTATUS(pclose(from)));
  return unused;
}

CASE(system_and_popen) {
  pthread_t threads[4];
  long sum = 0;
  for (long i = 0; i < 4; ++i) threads[i] = start(run_system, (void *)i);
  for (int i = 0; i < 4; ++i) sum += (long)join(threads[i]);
  say("%ld", sum);
  join(start(run_popen, NULL));
  run_popen(NULL);
}

static void *exec_now(void *unused) {
  nap(10);
  execl("/bin/echo", "echo", "the new program", NULL);
  say("no exec");
  return unused;
}

CASE(exec_from_a_thread) {
  for (int i = 0; i < 3; ++i) start(idle, NULL);
  join(start(exec_now, NULL));
}

static void *exec_with_mask(void *unused) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  signal(SIGUSR2, SIG_IGN);
  execl("/bin/grep", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", NULL);  // dash would empty the mask, and fill it for vfork
  return unused;
}

CASE(exec_keeps_mask_and_ignored) { join(start(exec_with_mask, NULL)); }

static pid_t child_of_another;
static void *wait_for_it(void *unused) {
  int status;
  say("waited %d", wait4(child_of_another, &status, 0, NULL) == child_of_another);
  say_end("child", status);
  return unused;
}
static void *fork_and_go(void *unused) {
  child_of_another = fork();
  if (!child_of_another) {
    nap(50);
    _exit(12);
  }
  return unused;
}

CASE(another_thread_waits) {
  join(start(fork_and_go, NULL));
  join(start(wait_for_it, NULL));
  int status;
  say("none left: %s", outcome(wait4(-1, &status, 0, NULL)));
}

static void *wait_for_any(void *unused) {
  int status;
  struct rusage used;
  pid_t who = wait4(-1, &status, 0, &used);
  return (void *)(long)(who > 0 ? WEXITSTATUS(status) + (unused != NULL) : -1);
}

CASE(several_wait_for_any) {
  pthread_t threads[4];
  long sum = 0;
  for (int i = 0; i < 4; ++i) {
    if (fork()) continue;
    nap(30 + 10 * i);
    _exit(1 << i);
  }
  for (int i = 0; i < 4; ++i) threads[i] = start(wait_for_any, NULL);
  for (int i = 0; i < 4; ++i) sum += (long)join(threads[i]);
  say("%ld", sum);
}

static void *wait_by_id(void *child) {
  siginfo_t info = {0};
  say("%s", outcome(waitid(P_PID, (id_t)(long)child, &info, WEXITED | WNOWAIT)));
  say("code %d status %d", info.si_code, info.si_status);
  say("%s", outcome(waitid(P_PID, (id_t)(long)child, &info, WEXITED)));
  return NULL;
}

CASE(waitid_tells_and_takes) {
  pid_t child = fork();
  if (!child) {
    nap(20);
    _exit(8);
  }
  join(start(wait_by_id, (void *)(long)child));
}

static int lines[2];
static void *pass_on(void *unused) {
  char c;
  while (read(lines[0], &c, 1) == 1) {}
  return unused;
}

CASE(the_childs_end_closes_its_pipe) {
  if (pipe(lines)) say("no pipe");
  pthread_t reader = start(pass_on, NULL);
  pid_t child = fork();
  if (!child) {
    if (write(lines[1], "abc", 3) != 3) _exit(1);
    nap(20);
    _exit(0);
  }
  close(lines[1]);
  join(reader);
  waitpid(child, NULL, 0);
  say("closed");
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static void *alloc_and_free(void *stop) {
  while (!*(atomic_int *)stop) {
    free(malloc(1000));
    pthread_mutex_lock(&m);
    nap(1);
    pthread_mutex_unlock(&m);
  }
  return NULL;
}

CASE(fork_while_others_allocate) {
  atomic_int stop = 0;
  pthread_t threads[4];
  int well = 0;
  for (int i = 0; i < 4; ++i) threads[i] = start(alloc_and_free, &stop);
  for (int i = 0; i < 20; ++i) {
    pid_t child = fork();
    if (!child) {
      for (int k = 0; k < 100; ++k) free(malloc(2000));
      _exit(0);
    }
    int status;
    well += waitpid(child, &status, 0) == child && status == 0;
  }
  stop = 1;
  for (int i = 0; i < 4; ++i) join(threads[i]);
  say("%d", well);
}

static void *own_ids(void *unused) {
  say("%s", outcome(setgid(65534)));
  say("%s", outcome(setuid(65534)));
  return unused;
}
static sem_t changed;
static void *say_ids(void *unused) {
  sem_wait(&changed);
  uid_t r, e, s;
  getresuid(&r, &e, &s);
  say("%d %d %d, opens %s", (int)r, (int)e, (int)s, outcome(open("/etc/shadow", O_RDONLY)));
  return unused;
}

// While some wait in the kernel, and the kernel threads that have waited there before run others.
static void *open_fifo(void *path) {
  int fd = open(path, O_RDONLY);
  close(fd);
  return NULL;
}
CASE(user_ids_are_those_of_every_kernel_thread) {
  pthread_t stuck[3], fresh[3];
  int ends[3];
  char path[3][8];
  for (int i = 0; i < 3; ++i) {
    snprintf(path[i], sizeof path[i], "fifo%d", i);
    if (mkfifo(path[i], 0666) || chmod(path[i], 0666)) say("mkfifo: %s", error_name(errno));
  }
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 3; ++i) stuck[i] = start(open_fifo, path[i]);
    nap(20);
    if (round == 0) {
      sem_init(&changed, 0, 0);
    } else {
      for (int i = 0; i < 3; ++i) fresh[i] = start(say_ids, NULL);
      nap(10);
      for (int i = 0; i < 3; ++i) sem_post(&changed);
      for (int i = 0; i < 3; ++i) join(fresh[i]);
    }
    for (int i = 0; i < 3; ++i) ends[i] = open(path[i], O_WRONLY);
    for (int i = 0; i < 3; ++i) join(stuck[i]);
    for (int i = 0; i < 3; ++i) close(ends[i]);
    if (round == 0) join(start(own_ids, NULL));
  }
  say("main %d", (int)geteuid());
}

CASE(user_ids_are_the_processs) {
  pthread_t threads[3];
  sem_init(&changed, 0, 0);
  for (int i = 0; i < 3; ++i) threads[i] = start(say_ids, NULL);
  nap(5);
  join(start(own_ids, NULL));
  for (int i = 0; i < 3; ++i) sem_post(&changed);
  for (int i = 0; i < 3; ++i) join(threads[i]);
  say("main %d", (int)geteuid());
}

CASE(grandchildren) {
  pid_t child = fork();
  if (!child) {
    start(idle, NULL);
    long how = (long)join(start(fork_and_wait, (void *)21));
    _exit((int)how);
  }
  int status;
  waitpid(child, &status, 0);
  say_end("child", status);
}

static void *join_forker(void *first) {
  nap(20);
  say("joined %ld", (long)join(*(pthread_t *)first));
  _exit(31);
}

CASE(the_childs_first_thread_is_joined) {
  pid_t child = fork();
  if (!child) {
    static pthread_t me;
    me = pthread_self();
    start(join_forker, &me);
    pthread_exit((void *)6);
  }
  int status;
  waitpid(child, &status, 0);
  say_end("child", status);
}
