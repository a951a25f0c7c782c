// Where a stack ends: threads that compute there, and what their overflow looks like to a handler.
#include "program.h"

#include <setjmp.h>
#include <sys/resource.h>
#include <ucontext.h>

// Without a guard it counts the guard's size as 0.
struct extent {
  char *low;
  size_t size, guard;
};
static struct extent own_stack(void) {
  pthread_attr_t have;
  void *low;
  struct extent e;
  pthread_getattr_np(pthread_self(), &have);
  pthread_attr_getstack(&have, &low, &e.size);
  pthread_attr_getguardsize(&have, &e.guard);
  pthread_attr_destroy(&have);
  e.low = low;
  return e;
}

static pthread_t start_on(size_t stack, size_t guard, void *(*run)(void *), void *argument) {
  pthread_attr_t how;
  pthread_t thread;
  pthread_attr_init(&how);
  pthread_attr_setstacksize(&how, stack);
  pthread_attr_setguardsize(&how, guard);
  const int error = pthread_create(&thread, &how, run, argument);
  if (error) say("pthread_create: %s", error_name(error));
  pthread_attr_destroy(&how);
  return thread;
}

static char *alternate_here(size_t size) {
  char *at = malloc(size);
  stack_t s = {.ss_sp = at, .ss_size = size};
  sigaltstack(&s, NULL);
  return at;
}

static atomic_int handled;

static void say_overflow(int number) {
  say("overflow %d", number);
  _exit(4);
}
__attribute__((noinline)) static int deeper(volatile int n) {
  volatile char room[512];
  room[0] = (char)n;
  return deeper(n + 1) + room[0];
}
static void *overflows(void *unused) {
  alternate_here(65536);
  nap(1);
  return (void *)(long)(deeper(0) + (unused != NULL));
}

CASE(overflow_is_handled_on_the_alternate_stack) {
  handle(SIGSEGV, say_overflow, SA_ONSTACK);
  join(start(overflows, NULL));
}

static void polls(void) { poll(NULL, 0, 0); }
static void writes_nowhere(void) { (void)!write(-1, "", 0); }
static void asks(void) { getppid(); }
__attribute__((noinline)) static int deeper_by_calls(void (*call)(void), volatile int n) {
  volatile char room[200];
  room[0] = (char)n;
  call();
  return deeper_by_calls(call, n + 1) + room[0];
}
static void *overflows_by_calls(void *call) {
  alternate_here(65536);
  return (void *)(long)deeper_by_calls((void (*)(void))call, 0);
}
static void overflow_by_calls(void (*call)(void)) {
  handle(SIGSEGV, say_overflow, SA_ONSTACK);
  join(start_on(256 * 1024, 4096, overflows_by_calls, (void *)call));
}

// Wherever in a call the stack is used up.
CASE(overflow_in_a_poll) { overflow_by_calls(polls); }
CASE(overflow_in_a_write) { overflow_by_calls(writes_nowhere); }
CASE(overflow_in_a_call_that_answers_at_once) { overflow_by_calls(asks); }

static void overflow_of_main(void (*call)(void)) {
  handle(SIGSEGV, say_overflow, SA_ONSTACK);
  overflows_by_calls((void *)call);
}
CASE(overflow_of_main_in_a_poll) { overflow_of_main(polls); }
CASE(overflow_of_main_in_a_write) { overflow_of_main(writes_nowhere); }
CASE(overflow_of_main_in_a_call_that_answers_at_once) { overflow_of_main(asks); }

static struct extent faulty;  // the stack whose end is looked for
static sigjmp_buf back;
static void say_where(int number, siginfo_t *info, void *context) {
  const char *at = info->si_addr;
  say("signal %d code %d in the guard %d", number, info->si_code, at < faulty.low && at >= faulty.low - faulty.guard);
  siglongjmp(back, 1);
  (void)context;
}
static void *touches_its_guard(void *unused) {
  faulty = own_stack();
  for (size_t below = 1; below <= faulty.guard; below += 4096) {
    if (!sigsetjmp(back, 1)) faulty.low[-(long)below] = 1;
  }
  if (!sigsetjmp(back, 1)) (void)*(volatile char *)(faulty.low - faulty.guard);
  return unused;
}
static void *runs_into_its_guard(void *call) {
  alternate_here(65536);
  faulty = own_stack();
  if (!sigsetjmp(back, 1)) deeper_by_calls((void (*)(void))call, 0);
  return NULL;
}
static void *looks_at_nothing(void *unused) {
  faulty = (struct extent){(char *)8192, 0, 4096};
  if (!sigsetjmp(back, 1)) (void)*(volatile char *)5000;
  return unused;
}
static void nothing(void) {}

// A guard is memory without access, and not no memory.
CASE(a_guard_that_is_hit_is_told_as_one) {
  handle_info(SIGSEGV, say_where, SA_ONSTACK);
  for (int round = 0; round < 3; ++round) {
    join(start_on(131072, 4096, touches_its_guard, NULL));
    join(start_on(131072, 16384, touches_its_guard, NULL));
  }
  for (int round = 0; round < 2; ++round) {
    join(start_on(131072, 4096, runs_into_its_guard, (void *)nothing));
    join(start_on(131072, 8192, runs_into_its_guard, (void *)polls));
    join(start_on(131072, 8192, runs_into_its_guard, (void *)asks));
  }
  looks_at_nothing(NULL);
  join(start(looks_at_nothing, NULL));
}

// Calls `run` with about that much left of the stack.
__attribute__((noinline)) static void with_left(const char *low, size_t left, void (*run)(void)) {
  volatile char *room = __builtin_alloca((size_t)((char *)__builtin_frame_address(0) - low) - left);
  room[0] = 1;
  run();
}

// However many stacks there are, each end is known.
static void *runs_out_of_it(void *unused) {
  alternate_here(65536);
  const struct extent mine = own_stack();
  sem_t *both = unused;
  sem_post(&both[0]);
  sem_wait(&both[1]);
  for (size_t left = 5120; left < 10000; left += 512) with_left(mine.low, left, polls);
  return NULL;
}
CASE(ends_of_many_stacks) {
  enum { count = 700 };
  static pthread_t threads[count];
  sem_t both[2];
  sem_init(&both[0], 0, 0);
  sem_init(&both[1], 0, 0);
  for (int i = 0; i < count; ++i) threads[i] = start_on(65536, 4096 << i % 4, runs_out_of_it, both);
  for (int i = 0; i < count; ++i) sem_wait(&both[0]);
  for (int i = 0; i < count; ++i) sem_post(&both[1]);
  for (int i = 0; i < count; ++i) join(threads[i]);
  say("to their ends");
}

static sem_t looked_for, looked_at;
static void *shows_its_stack(void *unused) {
  faulty = own_stack();
  sem_post(&looked_for);
  sem_wait(&looked_at);
  return unused;
}
CASE(another_ones_guard) {
  sem_init(&looked_for, 0, 0);
  sem_init(&looked_at, 0, 0);
  handle_info(SIGSEGV, say_where, 0);
  pthread_t other = start_on(131072, 8192, shows_its_stack, NULL);
  sem_wait(&looked_for);
  if (!sigsetjmp(back, 1)) faulty.low[-1] = 1;
  if (!sigsetjmp(back, 1)) faulty.low[-8192] = 1;
  sem_post(&looked_at);
  join(other);
}

static const size_t lefts[] = {192, 256, 512, 1024, 2048, 3072, 3328, 3456, 3584, 3840, 4096, 5120, 6144, 8192, 9216};
enum { left_count = sizeof lefts / sizeof *lefts };

static uint64_t two_slices;  // of the time stamp counter
static void learn_slices(void) {
  const uint64_t from = __builtin_ia32_rdtsc();
  nap(25);
  two_slices = __builtin_ia32_rdtsc() - from;
}
static void compute(void) {
  const uint64_t from = __builtin_ia32_rdtsc();
  while (__builtin_ia32_rdtsc() - from < two_slices) __builtin_ia32_pause();
}
static void *computes_where_its_stack_ends(void *alternate) {
  if (alternate) alternate_here(65536);
  const struct extent mine = own_stack();
  for (int i = 0; i < left_count; ++i) with_left(mine.low, lefts[i], compute);
  return NULL;
}

// What interrupts a thread that computes needs room for its registers, and the handler of an overflow is for overflows.
CASE(a_thread_computes_where_its_stack_ends) {
  handle(SIGSEGV, say_overflow, SA_ONSTACK);
  learn_slices();
  join(start(computes_where_its_stack_ends, "has an alternate stack"));
  say("to its end");
}
CASE(a_thread_computes_where_its_stack_ends_without_a_handler) {
  learn_slices();
  join(start(computes_where_its_stack_ends, NULL));
  say("to its end");
}

// A call needs next to nothing of its caller's stack, and what it waits for comes all the same.
enum { room_for_trap = 5120 };  // under the preload a call that traps has its registers there
static int calls_end[2];
static atomic_int answered;
static void make_calls(void) {
  char letter = 0;
  struct timespec moment = {0, 1000000};
  struct pollfd readable = {calls_end[0], POLLIN, 0};
  answered += getppid() == syscall(SYS_getppid);
  answered += write(calls_end[1], "x", 1) == 1;
  answered += poll(&readable, 1, 1000) == 1;
  answered += read(calls_end[0], &letter, 1) == 1 && letter == 'x';
  answered += clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL) == 0;
  answered += syscall(SYS_nanosleep, &moment, NULL) == 0;
  answered += poll(NULL, 0, 2) == 0;
  answered += sched_yield() == 0;
  answered += pthread_kill(pthread_self(), 0) == 0;
  const pid_t child = vfork();
  if (child == 0) _exit(7);
  int status = 0;
  answered += waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7;
}
static void *calls_where_its_stack_ends(void *unused) {
  const struct extent mine = own_stack();
  for (size_t left = room_for_trap; left < 10000; left += 256) with_left(mine.low, left, make_calls);
  return unused;
}
CASE(calls_where_a_stack_ends) {
  if (pipe(calls_end)) return;
  join(start(calls_where_its_stack_ends, NULL));
  join(start_on(16384, 4096, calls_where_its_stack_ends, NULL));
  join(start_on(16384, 32768, calls_where_its_stack_ends, NULL));
  say("answered %d", answered);
}

static void *calls_by_turns(void *unused) {
  const struct extent mine = own_stack();
  for (int i = 0; i < 5; ++i) with_left(mine.low, room_for_trap + 300 * (size_t)i, make_calls);
  return unused;
}
CASE(many_call_where_their_stacks_end) {
  if (pipe(calls_end)) return;
  pthread_t threads[30];
  for (int i = 0; i < 30; ++i) threads[i] = start_on(16384, 4096, calls_by_turns, NULL);
  for (int i = 0; i < 30; ++i) join(threads[i]);
  say("answered %d", answered);
}

// The usual size of an alternate stack was SIGSTKSZ for thirty years.
enum { small_alternate = 8192 };
static void calls_in_handler(int number) {
  make_calls();
  say("answered %d after %d", answered, number);
  answered = 0;
}
static void *has_small_alternate(void *unused) {
  char *at = mmap(NULL, small_alternate + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(at, 4096, PROT_NONE);
  stack_t s = {.ss_sp = at + 4096, .ss_size = small_alternate};
  sigaltstack(&s, NULL);
  pthread_kill(pthread_self(), SIGUSR1);
  nap(1);
  faulty = own_stack();
  if (!sigsetjmp(back, 1)) deeper(0);
  return unused;
}
static void calls_and_jumps(int number) {
  calls_in_handler(number);
  siglongjmp(back, 1);
}
CASE(calls_on_a_small_alternate_stack) {
  if (pipe(calls_end)) return;
  handle(SIGUSR1, calls_in_handler, SA_ONSTACK);
  handle(SIGSEGV, calls_and_jumps, SA_ONSTACK);
  for (int i = 0; i < 3; ++i) join(start_on(131072, 4096, has_small_alternate, NULL));
}
static void aborts(int number) {
  say("overflow %d", number);
  abort();
}
CASE(abort_on_a_small_alternate_stack) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  handle(SIGUSR1, SIG_IGN, 0);
  handle(SIGSEGV, aborts, SA_ONSTACK);
  join(start_on(131072, 4096, has_small_alternate, NULL));
}

// A handler that interrupts a call there runs on the program's stack, its alternate one if it asks for that.
static atomic_int on_own, on_other;
static __thread struct extent mine;
static __thread char *other_stack;
static void looks_where_it_is(int number) {
  char here;
  if (&here >= mine.low && &here < mine.low + mine.size) ++on_own;
  if (&here >= other_stack && &here < other_stack + 65536) ++on_other;
  handled += number != 0;
}
static atomic_int got_there;
static void sleeps_until_handled(void) {
  got_there = 1;
  while (!handled) nap(10);
}
static void *sleeps_where_its_stack_ends(void *unused) {
  mine = own_stack();
  other_stack = alternate_here(65536);
  with_left(mine.low, 5120, sleeps_until_handled);
  return unused;
}
CASE(a_handler_interrupts_a_call_where_a_stack_ends) {
  for (int on_alternate = 0; on_alternate < 2; ++on_alternate) {
    for (int i = 0; i < 3; ++i) {
      handled = got_there = 0;
      handle(SIGUSR1, looks_where_it_is, on_alternate ? SA_ONSTACK : 0);
      pthread_t thread = start(sleeps_where_its_stack_ends, NULL);
      while (!got_there) nap(1);
      nap(15);
      pthread_kill(thread, SIGUSR1);
      join(thread);
    }
    say("own %d other %d", on_own, on_other);
  }
}
static void *is_cancelled_where_its_stack_ends(void *unused) {
  with_left(own_stack().low, 6144, sleeps_until_handled);
  return unused;
}
CASE(cancelled_in_a_call_where_a_stack_ends) {
  long cancelled = 0;
  for (int i = 0; i < 5; ++i) {
    got_there = 0;
    pthread_t thread = start(is_cancelled_where_its_stack_ends, NULL);
    while (!got_there) nap(1);
    nap(5);
    pthread_cancel(thread);
    cancelled += join(thread) == PTHREAD_CANCELED;
  }
  say("cancelled %ld", cancelled);
}

static atomic_int turn;  // even: the one that computes may go on
static void wait_for_turn(void) {
  const int now = ++turn;
  while (turn == now) __builtin_ia32_pause();
}
static void *computes_for_others(void *alternate) {
  if (alternate) alternate_here(65536);
  const struct extent mine = own_stack();
  for (int i = 0; i < left_count; ++i) with_left(mine.low, lefts[i] < mine.size / 2 ? lefts[i] : 192, wait_for_turn);
  return NULL;
}
static void gives_way(void *alternate) {
  turn = 0;
  pthread_t thread = start_on(16384, 4096, computes_for_others, alternate);
  for (int i = 0; i < left_count; ++i) {
    while (turn % 2 == 0) nap(1);
    ++turn;
  }
  join(thread);
  say("turns %d", turn);
}
CASE(a_thread_gives_way_where_its_stack_ends) {
  gives_way(NULL);
  handle(SIGSEGV, say_overflow, SA_ONSTACK);
  gives_way("has an alternate stack");
}

static void *computes_with_all(void *thread) {
  const struct extent mine = own_stack();
  for (int i = 0; i < 5; ++i) with_left(mine.low, 192 + 256 * (size_t)i, compute);
  return thread;
}
CASE(many_compute_where_their_stacks_end) {
  learn_slices();
  pthread_t threads[20];
  long sum = 0;
  for (long i = 0; i < 20; ++i) threads[i] = start_on(16384, 4096, computes_with_all, (void *)i);
  for (int i = 0; i < 20; ++i) sum += (long)join(threads[i]);
  say("%ld", sum);
}

// The 128 bytes below the stack pointer are the program's, and so is what lies further down: on a stack that it has made
// itself, that may be anything.
static size_t changed;
static void leave_memory_alone(void) {
  enum { bytes = 24 * 1024 };
  // From here on nothing is called, so the stack pointer stays where it is.
  char *sp;
  asm volatile("movq %%rsp, %0" : "=r"(sp));
  volatile char *low = sp - bytes;
  for (int i = 0; i < bytes - 128; ++i) low[i] = (char)i;
  const uint64_t from = __builtin_ia32_rdtsc();
  while (__builtin_ia32_rdtsc() - from < 2 * two_slices) {}
  for (int i = 0; i < bytes - 128; ++i) changed += low[i] != (char)i;
}
static void *leaves_memory_alone(void *unused) {
  leave_memory_alone();
  return unused;
}
CASE(memory_below_the_stack_pointer_stays) {
  learn_slices();
  pthread_t others[2] = {start(leaves_memory_alone, NULL), start(leaves_memory_alone, NULL)};
  leave_memory_alone();
  for (int i = 0; i < 2; ++i) join(others[i]);
  say("changed %d", changed != 0);
}

// Registers of all kinds survive, wherever they are kept meanwhile.
static int wrong;
static void keep_registers(void) {
  double sum = 0, step = 1;
  const uint64_t from = __builtin_ia32_rdtsc();
  uint64_t n = 0;
  while (__builtin_ia32_rdtsc() - from < two_slices) {
    for (int i = 0; i < 1000; ++i) {
      sum += step;
      asm volatile("" : "+x"(sum), "+x"(step));
    }
    ++n;
  }
  wrong += sum != 1000.0 * (double)n;
}
static void *keeps_registers(void *unused) {
  const struct extent mine = own_stack();
  for (int i = 0; i < 4; ++i) with_left(mine.low, i % 2 ? 20000 : 192, keep_registers);
  return unused;
}
CASE(registers_survive) {
  learn_slices();
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) threads[i] = start(keeps_registers, NULL);
  for (int i = 0; i < 4; ++i) join(threads[i]);
  say("wrong %d", wrong);
}

static void count_it(int number) { handled += number != 0; }
static atomic_int there;
static void until_handled(void) {
  there = 1;
  while (!handled) __builtin_ia32_pause();
}
static void *waits_for_signal(void *alternate) {
  if (alternate) alternate_here(65536);
  with_left(own_stack().low, 192, until_handled);
  return NULL;
}
static pthread_t start_to_wait(void *alternate) {
  pthread_t thread = start(waits_for_signal, alternate);
  while (!there) nap(1);
  return thread;
}

// The handler runs in another thread, or on the alternate stack: there is room for it.
CASE(a_signal_comes_where_a_stack_ends) {
  handle(SIGUSR1, count_it, 0);
  pthread_t thread = start_to_wait(NULL);
  kill(getpid(), SIGUSR1);
  join(thread);
  say("handled %d", handled);
}
CASE(a_signal_comes_to_a_thread_where_its_stack_ends) {
  handle(SIGUSR1, count_it, SA_ONSTACK);
  pthread_t thread = start_to_wait("has an alternate stack");
  pthread_kill(thread, SIGUSR1);
  join(thread);
  say("handled %d", handled);
}
// There is none: signal(7) leaves the thread nowhere to handle it.
CASE(a_signal_finds_no_room) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  handle(SIGUSR1, count_it, 0);
  pthread_t thread = start_to_wait(NULL);
  pthread_kill(thread, SIGUSR1);
  join(thread);
  say("handled %d", handled);
}
CASE(a_signal_that_finds_no_room_is_an_overflow) {
  handle(SIGUSR1, count_it, 0);
  handle(SIGSEGV, say_overflow, SA_ONSTACK);
  pthread_t thread = start_to_wait("has an alternate stack");
  pthread_kill(thread, SIGUSR1);
  join(thread);
  say("handled %d", handled);
}
CASE(a_signal_nobody_handles_needs_no_room) {
  pthread_t thread = start_to_wait(NULL);
  pthread_kill(thread, SIGURG);  // ignored
  nap(30);
  pthread_kill(thread, SIGTERM);
  join(thread);
}

// What a handler is told of the alternate stack, and what becomes of what it changes there.
static char *own_alternate;
static void say_alternate(const char *when) {
  stack_t now;
  sigaltstack(NULL, &now);
  say("%s: own %d flags %x size %zu", when, now.ss_sp == own_alternate, (unsigned)now.ss_flags, now.ss_size);
}
static void looks_at_alternate(int number, siginfo_t *info, void *context) {
  char here;
  const ucontext_t *u = context;
  say("signal %d on it %d", number, &here >= own_alternate && &here < own_alternate + 65536);
  say("interrupted: own %d flags %x size %zu", u->uc_stack.ss_sp == own_alternate, (unsigned)u->uc_stack.ss_flags,
      u->uc_stack.ss_size);
  say_alternate("in the handler");
  stack_t none = {.ss_flags = SS_DISABLE};
  say("change %s", outcome(sigaltstack(&none, NULL)));
  if (number == SIGSEGV) mprotect((char *)info->si_addr, 4096, PROT_READ | PROT_WRITE);
}
static void *has_alternate(void *flags) {
  own_alternate = malloc(65536);
  stack_t s = {.ss_sp = own_alternate, .ss_size = 65536, .ss_flags = (int)(intptr_t)flags};
  say("%s", outcome(sigaltstack(&s, NULL)));
  pthread_kill(pthread_self(), SIGUSR1);
  say_alternate("after the handler");
  char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *(volatile char *)page = 1;
  say_alternate("after the fault");
  return NULL;
}
CASE(what_handlers_know_of_the_alternate_stack) {
  static const int kinds[] = {0, SA_ONSTACK};
  for (int k = 0; k < 2; ++k) {
    handle_info(SIGUSR1, looks_at_alternate, kinds[k]);
    handle_info(SIGSEGV, looks_at_alternate, kinds[k]);
    for (int disarms = 0; disarms < 2; ++disarms) {
      void *flags = (void *)(intptr_t)(disarms ? (int)(1u << 31) : 0);  // SS_AUTODISARM
      join(start(has_alternate, flags));
      has_alternate(flags);
    }
  }
}
