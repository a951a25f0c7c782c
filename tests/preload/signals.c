// Signals: to threads and to the process, handlers and masks, what they interrupt.
#include "program.h"

#include <setjmp.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

static atomic_int handled, handled_value;
static __thread int mine;
static void count_it(int number) {
  ++handled;
  mine = number;
}

static sigset_t set_of(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  return set;
}
static void mask(int how, int number) {
  sigset_t set = set_of(number);
  pthread_sigmask(how, &set, NULL);
}

static int pipe_ends[2];
static sem_t begun;
static char letter;
static void *reads(void *unused) {
  sem_post(&begun);
  long n = read(pipe_ends[0], &letter, 1);
  say("read %s mine %d", n == 1 ? "well" : outcome(n), mine);
  return unused;
}
static void interrupt_read(int flags) {
  handled = 0;
  handle(SIGUSR1, count_it, flags);
  pthread_t thread = start(reads, NULL);
  sem_wait(&begun);
  nap(20);
  const int sent = pthread_kill(thread, SIGUSR1);
  nap(30);
  if (write(pipe_ends[1], "x", 1) != 1) say("no write");
  join(thread);
  say("kill %s", error_name(sent));
  say("handled %d mine %d", handled, mine);
  if (!(flags & SA_RESTART) && read(pipe_ends[0], &letter, 1) != 1) say("nothing there");
}

CASE(eintr_and_restart) {
  sem_init(&begun, 0, 0);
  if (pipe(pipe_ends)) say("no pipe");
  interrupt_read(0);
  interrupt_read(SA_RESTART);
}

static sem_t empty;
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static void in_nanosleep(void) {
  struct timespec t = {0, 300000000}, rest = {9, 9};
  say("nanosleep %s", outcome(nanosleep(&t, &rest)));
  say("rest %d", rest.tv_sec == 0 && rest.tv_nsec > 100000000 && rest.tv_nsec < 300000000);
}
static void in_clock_nanosleep(void) {
  struct timespec t = after(CLOCK_MONOTONIC, 300);
  say("clock_nanosleep %s", error_name(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)));
}
static void in_usleep(void) { say("usleep %s", outcome(usleep(300000))); }
static void in_sleep(void) { say("sleep %u", sleep(2) > 0); }
static void in_poll(void) {
  struct pollfd p = {pipe_ends[0], POLLIN, 0};
  say("poll %s", outcome(poll(&p, 1, 300)));
}
static void in_select(void) {
  struct timeval t = {0, 300000};
  say("select %s", outcome(select(0, NULL, NULL, NULL, &t)));
}
static void in_sem_wait(void) { say("sem_wait %s", outcome(sem_wait(&empty))); }
static void in_sem_timedwait(void) {
  struct timespec t = after(CLOCK_REALTIME, 300);
  say("sem_timedwait %s", outcome(sem_timedwait(&empty, &t)));
}
static void in_cond_timedwait(void) {
  struct timespec t = after(CLOCK_REALTIME, 100);
  pthread_mutex_lock(&m);
  say("cond_timedwait %s", error_name(pthread_cond_timedwait(&c, &m, &t)));
  pthread_mutex_unlock(&m);
}
static void in_pause(void) { say("pause %s", outcome(pause())); }
static void in_sigsuspend(void) {
  sigset_t none;
  sigemptyset(&none);
  say("sigsuspend %s", outcome(sigsuspend(&none)));
}
static void in_accept(void) {
  int s = socket(AF_INET, SOCK_STREAM, 0);
  listen(s, 1);
  struct timeval t = {0, 300000};
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  say("accept %s", outcome(accept(s, NULL, NULL)));
  close(s);
}
static void in_recv(void) {
  int s[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, s)) return;
  struct timeval t = {0, 300000};
  setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  say("recv %s", outcome(recv(s[0], &letter, 1, 0)));
}
static void in_sigtimedwait(void) {
  struct timespec t = {0, 300000000};
  sigset_t set = set_of(SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  say("sigtimedwait %s", outcome(sigtimedwait(&set, NULL, &t)));
}
static void *wait_in(void *wait) {
  sem_post(&begun);
  ((void (*)(void))wait)();
  return NULL;
}

static void interrupt_all(int flags) {
  void (*list[])(void) = {in_nanosleep, in_clock_nanosleep, in_usleep, in_sleep, in_poll, in_select, in_sem_timedwait, in_cond_timedwait,
    in_pause, in_sigsuspend, in_accept, in_recv, in_sigtimedwait, flags ? in_poll : in_sem_wait};
  handled = 0;
  handle(SIGUSR1, count_it, flags);
  sem_init(&begun, 0, 0);
  for (unsigned i = 0; i < sizeof list / sizeof *list; ++i) {
    pthread_t thread = start(wait_in, (void *)list[i]);
    sem_wait(&begun);
    nap(30);
    pthread_kill(thread, SIGUSR1);
    join(thread);
  }
  say("handled %d", handled);
}

CASE(interrupted_waits) {
  if (pipe(pipe_ends)) say("no pipe");
  interrupt_all(0);
}
CASE(interrupted_waits_with_restart) {
  if (pipe(pipe_ends)) say("no pipe");
  interrupt_all(SA_RESTART);
}

static pthread_t who_handled;
static void note_who(int number) {
  who_handled = pthread_self();
  ++handled;
  mine = number;
}
static void *blocks_it(void *number) {
  mask(SIG_BLOCK, (int)(long)number);
  sem_post(&begun);
  nap(120);
  return (void *)(long)mine;
}
static void *takes_it(void *unused) {
  mask(SIG_UNBLOCK, SIGUSR1);
  sem_post(&begun);
  nap(120);
  return unused ? unused : (void *)(long)mine;
}

CASE(the_process_gets_it_where_it_is_not_blocked) {
  sem_init(&begun, 0, 0);
  handle(SIGUSR1, note_who, 0);
  mask(SIG_BLOCK, SIGUSR1);
  pthread_t one = start(blocks_it, (void *)SIGUSR1), other = start(takes_it, NULL), third = start(blocks_it, (void *)SIGUSR1);
  for (int i = 0; i < 3; ++i) sem_wait(&begun);
  nap(10);
  kill(getpid(), SIGUSR1);
  nap(40);
  say("handled %d by the one %d", handled, who_handled == other);
  say("%ld %ld %ld", (long)join(one), (long)join(other), (long)join(third));
  kill(getpid(), SIGUSR1);
  sigset_t pending;
  sigpending(&pending);
  say("pending %d handled %d", sigismember(&pending, SIGUSR1), handled);
  mask(SIG_UNBLOCK, SIGUSR1);
  say("handled %d", handled);
}

static void *pending_for_me(void *unused) {
  sigset_t pending;
  mask(SIG_BLOCK, SIGUSR2);
  pthread_kill(pthread_self(), SIGUSR2);
  pthread_kill(pthread_self(), SIGUSR2);
  sigpending(&pending);
  say("pending %d handled %d", sigismember(&pending, SIGUSR2), handled);
  mask(SIG_UNBLOCK, SIGUSR2);
  say("handled %d mine %d", handled, mine);
  return unused;
}

CASE(pending_for_a_thread) {
  handle(SIGUSR2, count_it, 0);
  join(start(pending_for_me, NULL));
  sigset_t pending;
  sigpending(&pending);
  say("main's %d", sigismember(&pending, SIGUSR2));
}

static void note_value(int number, siginfo_t *info, void *context) {
  handled_value = handled_value * 10 + info->si_value.sival_int;
  if (number != SIGRTMIN + 1 || info->si_code != SI_QUEUE || info->si_pid != getpid() || !context) say("wrong");
  ++handled;
}
static void *queued(void *unused) {
  union sigval v;
  mask(SIG_BLOCK, SIGRTMIN + 1);
  for (v.sival_int = 1; v.sival_int <= 3; ++v.sival_int) pthread_sigqueue(pthread_self(), SIGRTMIN + 1, v);
  mask(SIG_UNBLOCK, SIGRTMIN + 1);
  say("handled %d values %d", handled, handled_value);
  return unused;
}

CASE(queued_signals_keep_their_order) {
  handle_info(SIGRTMIN + 1, note_value, 0);
  join(start(queued, NULL));
  union sigval v = {.sival_int = 4};
  mask(SIG_BLOCK, SIGRTMIN + 1);
  sigqueue(getpid(), SIGRTMIN + 1, v);
  sigqueue(getpid(), SIGRTMIN + 1, v);
  mask(SIG_UNBLOCK, SIGRTMIN + 1);
  say("handled %d values %d", handled, handled_value);
}

static void *waits_for_one(void *unused) {
  sigset_t set = set_of(SIGUSR1);
  int number = 0;
  say("%s %d", error_name(sigwait(&set, &number)), number);
  siginfo_t info;
  sigaddset(&set, SIGRTMIN + 2);
  number = sigwaitinfo(&set, &info);
  say("%d value %d from us %d", number == SIGRTMIN + 2, info.si_value.sival_int, info.si_pid == getpid());
  struct timespec soon = {0, 20000000}, none = {0, 0};
  say("%s", outcome(sigtimedwait(&set, NULL, &soon)));
  say("%s", outcome(sigtimedwait(&set, NULL, &none)));
  pthread_kill(pthread_self(), SIGUSR1);
  number = sigtimedwait(&set, &info, &none);
  say("%d code %d", number, info.si_code == SI_TKILL);
  return unused;
}

CASE(waiting_for_signals) {
  mask(SIG_BLOCK, SIGUSR1);
  mask(SIG_BLOCK, SIGRTMIN + 2);
  pthread_t thread = start(waits_for_one, NULL);
  nap(20);
  kill(getpid(), SIGUSR1);
  nap(20);
  union sigval v = {.sival_int = 42};
  pthread_sigqueue(thread, SIGRTMIN + 2, v);
  join(thread);
}

static void *sigwaiter(void *sum) {
  sigset_t set = set_of(SIGUSR1);
  int number;
  sigwait(&set, &number);
  ++*(atomic_int *)sum;
  return NULL;
}

CASE(each_signal_wakes_one_waiter) {
  mask(SIG_BLOCK, SIGUSR1);
  atomic_int sum = 0;
  pthread_t threads[5];
  for (int i = 0; i < 5; ++i) threads[i] = start(sigwaiter, &sum);
  for (int i = 1; i <= 5; ++i) {
    nap(20);
    kill(getpid(), SIGUSR1);
    for (int k = 0; k < 200 && sum < i; ++k) nap(5);
    say("%d", sum);
  }
  for (int i = 0; i < 5; ++i) join(threads[i]);
}

static char *alternate;
static void on_alternate(int number, siginfo_t *info, void *context) {
  char here;
  stack_t now;
  sigaltstack(NULL, &now);
  say("change %s", outcome(sigaltstack(&now, NULL)));
  say("signal %d on it %d flags %d code %d", number, &here >= alternate && &here < alternate + 65536, now.ss_flags, info->si_code == SI_TKILL);
  (void)context;
}
static void *with_alternate(void *unused) {
  stack_t s = {.ss_sp = malloc(65536), .ss_size = 65536}, none;
  alternate = s.ss_sp;
  sigaltstack(NULL, &none);
  say("%s before %d", outcome(sigaltstack(&s, NULL)), none.ss_flags);
  pthread_kill(pthread_self(), SIGUSR1);
  nap(5);
  pthread_kill(pthread_self(), SIGUSR1);
  sigaltstack(NULL, &none);
  say("after %d", none.ss_flags);
  return unused;
}

CASE(alternate_stacks) {
  handle_info(SIGUSR1, on_alternate, SA_ONSTACK);
  join(start(with_alternate, NULL));
  with_alternate(NULL);
}

static void rests_on_alternate(int number) {
  nap(60);
  say("rested %d", number);
}
static void *rests(void *unused) {
  stack_t s = {.ss_sp = malloc(65536), .ss_size = 65536};
  sigaltstack(&s, NULL);
  pthread_kill(pthread_self(), SIGUSR1);
  return unused;
}
static __thread char *own_alternate;
static void fault_on_own(int number, siginfo_t *info, void *context) {
  char here;
  say("fault %d on its own %d", number, &here >= own_alternate && &here < own_alternate + 65536);
  mprotect(info->si_addr, 4096, PROT_READ | PROT_WRITE);
  (void)context;
}
static void *faults_meanwhile(void *unused) {
  stack_t s = {.ss_sp = own_alternate = malloc(65536), .ss_size = 65536};
  char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  sigaltstack(&s, NULL);
  nap(20);
  *(volatile char *)page = 1;
  nap(1);
  return unused;
}

CASE(alternate_stacks_beside_each_other) {
  handle(SIGUSR1, rests_on_alternate, SA_ONSTACK);
  handle_info(SIGSEGV, fault_on_own, SA_ONSTACK);
  pthread_t other = start(faults_meanwhile, NULL);
  nap(5);
  pthread_t first = start(rests, NULL);
  join(other);
  join(first);
}

static __thread sigjmp_buf back;
static __thread char *fault_at;
static void on_fault(int number, siginfo_t *info, void *context) {
  int where = info->si_addr == fault_at;
  say("fault %d where %d code %d", number, where, info->si_code);
  siglongjmp(back, 1);
  (void)context;
}
static void *faults(void *unused) {
  fault_at = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (volatile int i = 0; i < 3; ++i) {
    if (!sigsetjmp(back, 1)) *(volatile char *)fault_at = 1;
    nap(2);
  }
  fault_at = (char *)8;
  if (!sigsetjmp(back, 1)) *(volatile char *)fault_at = 1;
  return unused;
}

CASE(a_handler_of_faults_jumps_back) {
  handle_info(SIGSEGV, on_fault, 0);
  faults(NULL);
  join(start(faults, NULL));
  join(start(faults, NULL));
}

static void open_page(int number, siginfo_t *info, void *context) {
  mprotect((void *)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
  handled += number == SIGSEGV && context;
}
static void *touches(void *at) {
  long sum = 0;
  for (int i = 0; i < 10; ++i) {
    ((volatile char *)at)[4096 * i] = 1;
    nap(1);
    sum += ((volatile char *)at)[4096 * i];
  }
  return (void *)sum;
}

CASE(a_handler_of_faults_mends_and_returns) {
  handle_info(SIGSEGV, open_page, 0);
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) threads[i] = start(touches, mmap(NULL, 40960, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  long sum = 0;
  for (int i = 0; i < 4; ++i) sum += (long)join(threads[i]);
  say("%ld handled %d", sum, handled);
}

static void *divides(void *unused) {
  volatile int zero = 0;
  return (void *)(long)(1 / zero + (unused != NULL));
}

CASE(a_fault_ends_the_process) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  join(start(divides, NULL));
}

CASE(abort_ends_the_process) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  handle(SIGABRT, count_it, 0);
  join(start((void *(*)(void *))(void *)abort, NULL));
}

CASE(a_deadly_signal_ends_the_process) {
  start(blocks_it, (void *)SIGUSR1);
  nap(10);
  kill(getpid(), SIGTERM);
  nap(10000);
}

CASE(a_deadly_signal_to_a_thread) {
  pthread_t thread = start(blocks_it, (void *)SIGUSR1);
  nap(10);
  pthread_kill(thread, SIGTERM);
  nap(10000);
}

CASE(alarms_and_timers) {
  handle(SIGALRM, count_it, 0);
  struct itimerval every = {{0, 10000}, {0, 10000}}, off = {{0, 0}, {0, 0}};
  mask(SIG_BLOCK, SIGALRM);
  pthread_t thread = start(blocks_it, (void *)SIGALRM);
  mask(SIG_UNBLOCK, SIGALRM);
  setitimer(ITIMER_REAL, &every, NULL);
  while (handled < 5) pause();
  setitimer(ITIMER_REAL, &off, NULL);
  say("at least five, mine %d", mine);
  say("other's %ld", (long)join(thread));
  alarm(1);
  say("sleep %d", sleep(5) >= 3);
}

static void *spins_until_handled(void *unused) {
  mask(SIG_UNBLOCK, SIGALRM);
  while (!handled) {}
  return unused ? unused : (void *)(long)mine;
}

CASE(a_signal_reaches_a_thread_that_computes) {
  handle(SIGALRM, count_it, 0);
  mask(SIG_BLOCK, SIGALRM);
  pthread_t thread = start(spins_until_handled, NULL);
  ualarm(20000, 0);
  say("%ld", (long)join(thread));
}

// The parent of a vfork that takes its time calls nothing afterwards.
static void *computes_behind_vfork(void *faults) {
  struct timespec nap_of_child = {0, 30000000};
  const pid_t child = vfork();
  if (child == 0) {
    syscall(SYS_nanosleep, &nap_of_child, NULL);
    _exit(0);
  }
  if (faults) *(volatile char *)faults = 1;
  while (!handled) {}
  int status;
  waitpid(child, &status, 0);
  return (void *)(long)(mine ? mine : handled);
}

CASE(signals_come_behind_a_vfork) {
  handle(SIGUSR1, count_it, 0);
  for (int i = 0; i < 4; ++i) {
    handled = 0;
    pthread_t thread = start(computes_behind_vfork, NULL);
    nap(i % 2 ? 60 : 15);
    say("%s", error_name(pthread_kill(thread, SIGUSR1)));
    say("%ld", (long)join(thread));
  }
  handle_info(SIGSEGV, open_page, 0);
  handled = 0;
  say("%ld", (long)join(start(computes_behind_vfork, mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))));
}

static atomic_int ticks;
static void on_tick(union sigval v) { ticks += v.sival_int; }

CASE(timers_with_threads) {
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD};
  event.sigev_notify_function = on_tick;
  event.sigev_value.sival_int = 1;
  struct itimerspec every = {{0, 5000000}, {0, 5000000}};
  say("%s", outcome(timer_create(CLOCK_MONOTONIC, &event, &timer)));
  timer_settime(timer, 0, &every, NULL);
  for (int i = 0; i < 400 && ticks < 5; ++i) nap(5);
  say("%d %s", ticks >= 5, outcome(timer_delete(timer)));
}

static void *timer_to_itself(void *unused) {
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
  event._sigev_un._tid = gettid();
  struct itimerspec once = {{0, 0}, {0, 10000000}};
  say("%s", outcome(timer_create(CLOCK_MONOTONIC, &event, &timer)));
  timer_settime(timer, 0, &once, NULL);
  for (int i = 0; i < 400 && !mine; ++i) nap(5);
  say("mine %d", mine);
  return unused;
}

CASE(timers_to_a_thread) {
  handle(SIGUSR1, count_it, SA_RESTART);
  join(start(timer_to_itself, NULL));
  say("main's %d", mine);
}

CASE(signal_descriptors) {
  mask(SIG_BLOCK, SIGUSR1);
  sigset_t set = set_of(SIGUSR1);
  int fd = signalfd(-1, &set, 0);
  pthread_t thread = start(blocks_it, (void *)SIGUSR2);
  nap(5);
  kill(getpid(), SIGUSR1);
  struct signalfd_siginfo info;
  say("%ld", (long)read(fd, &info, sizeof info));
  say("%d from us %d", info.ssi_signo, (int)info.ssi_pid == getpid());
  join(thread);
}

static void nested(int number) {
  say("begin %d", number == SIGUSR1);
  if (number == SIGUSR1) {
    pthread_kill(pthread_self(), SIGUSR1);
    pthread_kill(pthread_self(), SIGUSR2);
  }
  nap(3);
  say("end %d", number == SIGUSR1);
  if (++handled == 3) handle(SIGUSR1, SIG_IGN, 0);
}
static void *nests(void *unused) {
  pthread_kill(pthread_self(), SIGUSR1);
  say("handled %d", handled >= 3);
  return unused;
}

CASE(handlers_wait_and_nest) {
  handle(SIGUSR1, nested, 0);
  handle(SIGUSR2, nested, 0);
  join(start(nests, NULL));
}

CASE(once_and_ignored) {
  handle(SIGUSR1, count_it, SA_RESETHAND);
  raise(SIGUSR1);
  struct sigaction now;
  sigaction(SIGUSR1, NULL, &now);
  say("%d default %d", handled, now.sa_handler == SIG_DFL);
  handle(SIGUSR1, SIG_IGN, 0);
  raise(SIGUSR1);
  kill(getpid(), SIGUSR1);
  say("%d", handled);
}

CASE(children_tell) {
  handle(SIGCHLD, count_it, SA_RESTART);
  mask(SIG_BLOCK, SIGCHLD);
  pthread_t thread = start(blocks_it, (void *)SIGCHLD);
  mask(SIG_UNBLOCK, SIGCHLD);
  for (int i = 0; i < 3; ++i) {
    pid_t child = fork();
    if (!child) _exit(i);
    int status;
    int same = waitpid(child, &status, 0) == child;
    say("%d %d", same, WEXITSTATUS(status));
  }
  nap(5);
  say("%d", handled > 0);
  say("other's %ld", (long)join(thread));
}

CASE(stop_and_continue) {
  pid_t child = fork();
  if (!child) {
    start(blocks_it, (void *)SIGUSR1);
    for (;;) nap(10);
  }
  int status;
  nap(30);
  kill(child, SIGSTOP);
  waitpid(child, &status, WUNTRACED);
  say("stopped %d", WIFSTOPPED(status));
  kill(child, SIGCONT);
  waitpid(child, &status, WCONTINUED);
  say("continued %d", WIFCONTINUED(status));
  kill(child, SIGTERM);
  waitpid(child, &status, 0);
  say_end("child", status);
}
