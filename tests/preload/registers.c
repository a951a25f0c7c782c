// What a thread keeps across waits and interruptions: errno, the floating-point environment, vector registers, its place.
#include "program.h"

#include <fenv.h>
#include <immintrin.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

static int pipe_ends[2];
static void *own_errno(void *value) {
  for (int i = 0; i < 20; ++i) {
    errno = (int)(long)value;
    nap(1);
    if (errno != (int)(long)value && errno != EINTR) return (void *)1;
    sched_yield();
    if (close(-1) != -1 || errno != EBADF) return (void *)2;
  }
  return NULL;
}

CASE(errno_is_its_own) {
  pthread_t threads[10];
  long wrong = 0;
  for (long i = 0; i < 10; ++i) threads[i] = start(own_errno, (void *)(i + 40));
  for (int i = 0; i < 10; ++i) wrong += (long)join(threads[i]);
  say("wrong %ld", wrong);
}

static void *own_rounding(void *mode) {
  int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  fesetround(modes[(long)mode]);
  volatile double one = 1, three = 3;
  volatile long double long_three = 3;
  double expected = one / three;
  long double long_expected = 1 / long_three;
  for (int i = 0; i < 20; ++i) {
    nap(1);
    sched_yield();
    if (fegetround() != modes[(long)mode] || one / three != expected || 1 / long_three != long_expected) return (void *)1;
  }
  return NULL;
}

CASE(rounding_is_its_own) {
  pthread_t threads[8];
  long wrong = 0;
  for (long i = 0; i < 8; ++i) threads[i] = start(own_rounding, (void *)(i % 4));
  for (int i = 0; i < 8; ++i) wrong += (long)join(threads[i]);
  say("wrong %ld main %d", wrong, fegetround() == FE_TONEAREST);
}

static void *inherits(void *unused) { return unused ? unused : (void *)(long)(fegetround() == FE_UPWARD); }

CASE(rounding_is_inherited) {
  fesetround(FE_UPWARD);
  say("%ld", (long)join(start(inherits, NULL)));
}

// A raw system call keeps all but rcx, r11 and rax: the vector registers too.
__attribute__((target("avx2"))) static long keeps_vectors(long number, long a, long b, long c) {
  unsigned char before[32], later[32];
  for (int i = 0; i < 32; ++i) before[i] = (unsigned char)(i * 7 + (int)a);
  __m256i kept = _mm256_loadu_si256((__m256i *)before);
  register __m256i ymm8 __asm__("ymm8") = kept;
  long result;
  __asm__ volatile("syscall" : "=a"(result), "+x"(ymm8) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  _mm256_storeu_si256((__m256i *)later, ymm8);
  return memcmp(before, later, 32) != 0;
}

static void *vectors(void *milliseconds) {
  struct timespec t = {0, (long)milliseconds * 1000000};
  long wrong = 0;
  for (int i = 0; i < 30; ++i) {
    wrong += keeps_vectors(SYS_sched_yield, (long)milliseconds, 0, 0);
    wrong += keeps_vectors(SYS_nanosleep, (long)&t, 0, 0);
    wrong += keeps_vectors(SYS_getppid, 0, 0, 0);
  }
  return (void *)wrong;
}

CASE(vectors_are_kept_by_calls) {
  if (!__builtin_cpu_supports("avx2")) return say("no avx2");
  pthread_t threads[6];
  long wrong = 0;
  for (long i = 0; i < 6; ++i) threads[i] = start(vectors, (void *)(i % 3 + 1));
  for (int i = 0; i < 6; ++i) wrong += (long)join(threads[i]);
  say("wrong %ld", wrong);
}

// Interrupted anywhere: by the others' turns.
__attribute__((target("avx2"))) static void *computes(void *seed) {
  __m256d sum = _mm256_set1_pd(0), step = _mm256_set1_pd((double)(long)seed);
  for (long i = 0; i < 40000000; ++i) sum = _mm256_add_pd(sum, step);
  double parts[4];
  _mm256_storeu_pd(parts, sum);
  return (void *)(long)((parts[0] + parts[1] + parts[2] + parts[3]) / 1000000);
}

CASE(vectors_are_kept_by_turns) {
  if (!__builtin_cpu_supports("avx2")) return say("no avx2");
  pthread_t threads[4];
  for (long i = 0; i < 4; ++i) threads[i] = start(computes, (void *)(i + 1));
  for (int i = 0; i < 4; ++i) say("%ld", (long)join(threads[i]));
}

static atomic_int stop;
static void *flags_are_kept(void *unused) {
  long wrong = 0;
  while (!stop) {
    unsigned char carry, direction;
    __asm__ volatile("stc; mov $20000, %%ecx; 1: lea -1(%%ecx), %%ecx; jecxz 2f; jmp 1b; 2: setc %0; pushf; pop %%rcx; shr $10, %%ecx; and $1, %%ecx; mov %%cl, %1"
                     : "=r"(carry), "=r"(direction) : : "rcx", "cc", "memory");
    wrong += carry != 1 || direction != 0;
  }
  return unused ? unused : (void *)wrong;
}

CASE(flags_are_kept_by_turns) {
  pthread_t threads[3];
  long wrong = 0;
  for (int i = 0; i < 3; ++i) threads[i] = start(flags_are_kept, NULL);
  nap(200);
  stop = 1;
  for (int i = 0; i < 3; ++i) wrong += (long)join(threads[i]);
  say("wrong %ld", wrong);
}

static __thread jmp_buf back;
static void far(int depth) {
  if (!depth) longjmp(back, 7);
  nap(1);
  far(depth - 1);
}
static void *jumps(void *volatile unused) {
  volatile long sum = 0;
  for (volatile int i = 0; i < 5; ++i) {
    int value = setjmp(back);
    if (value) sum += value;
    else far(5);
  }
  return unused ? unused : (void *)sum;
}

CASE(long_jumps) {
  pthread_t threads[5];
  long sum = 0;
  for (int i = 0; i < 5; ++i) threads[i] = start(jumps, NULL);
  for (int i = 0; i < 5; ++i) sum += (long)join(threads[i]);
  say("%ld", sum);
}

static __thread ucontext_t caller, other;
static __thread int steps;
static void co_operate(void) {
  for (int i = 0; i < 10; ++i) {
    ++steps;
    nap(1);
    swapcontext(&other, &caller);
  }
}
static void *switches(void *volatile unused) {
  char *stack = malloc(65536);
  getcontext(&other);
  other.uc_stack.ss_sp = stack;
  other.uc_stack.ss_size = 65536;
  other.uc_link = &caller;
  makecontext(&other, co_operate, 0);
  for (int i = 0; i < 11; ++i) {
    swapcontext(&caller, &other);
    nap(1);
  }
  free(stack);
  return unused ? unused : (void *)(long)steps;
}

CASE(contexts_inside_threads) {
  pthread_t threads[6];
  long sum = 0;
  for (int i = 0; i < 6; ++i) threads[i] = start(switches, NULL);
  for (int i = 0; i < 6; ++i) sum += (long)join(threads[i]);
  say("%ld, main's %ld", sum, (long)switches(NULL));
}

static ucontext_t from_one, to_other;
static void moved(void) {
  say("on the other's stack");
  setcontext(&from_one);
}
static void *resumes(void *unused) {
  static volatile int been;
  getcontext(&from_one);
  if (!been++) {
    getcontext(&to_other);
    to_other.uc_stack.ss_sp = malloc(65536);
    to_other.uc_stack.ss_size = 65536;
    makecontext(&to_other, moved, 0);
    setcontext(&to_other);
  }
  say("back %d", been);
  return unused;
}

CASE(contexts_come_back) { join(start(resumes, NULL)); }

static void *own_locale(void *name) {
  locale_t l = newlocale(LC_ALL_MASK, "C", NULL);
  uselocale(l);
  nap(5);
  return uselocale(NULL) == l ? name : NULL;
}

CASE(locale_is_its_own) {
  say("%d %d", join(start(own_locale, pipe_ends)) != NULL, uselocale(NULL) == LC_GLOBAL_LOCALE);
}
