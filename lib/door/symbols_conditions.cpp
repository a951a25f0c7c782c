// libc's condition variables: a fiber that waits for one gives the mutex back and parks.
//
// Fibers that wait are listed here, by the condition's address; libc knows of none of them. So who signals looks here
// first, and wakes in libc whoever is left. POSIX lets a wait end for nothing, which is all that is asked of a wake here.
#include <bide/wait.hpp>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <threads.h>

#include <atomic>

#include "lib/door/locks.hpp"

namespace {

using namespace bide;

// On the waiting fiber's stack.
struct place {
  const void* condition;
  place* next = nullptr;
  std::uint32_t woken = 0;  // a futex; set by who took it off the list
};

struct list {
  std::atomic<std::uint32_t> lock{0};
  std::atomic<std::uint32_t> waiting{0};  // any thread
  place* first = nullptr;                 // guarded by lock
  place** last = &first;                  // guarded by lock
};
constinit list waits;

void enlist(place& p) noexcept {
  const door::list_guard guard(waits.lock);
  *waits.last = &p;
  waits.last = &p.next;
  waits.waiting.fetch_add(1);
}

void take_off(place** at) noexcept {
  place* const p = *at;
  *at = p->next;
  if (waits.last == &p->next) waits.last = at;
  waits.waiting.fetch_sub(1);
}

// Off the list, unless a waker was first.
void withdraw(place& p) noexcept {
  const door::list_guard guard(waits.lock);
  for (place** at = &waits.first; *at; at = &(*at)->next) {
    if (*at == &p) return take_off(at);
  }
}

// Takes one off and wakes it: its place is gone once `woken` is set, and a wake at an address that is no futex any more
// wakes nobody.
bool wake_one(const void* condition) noexcept {
  std::uint32_t* word = nullptr;
  {
    const door::list_guard guard(waits.lock);
    for (place** at = &waits.first; *at && !word; at = &(*at)->next) {
      if ((*at)->condition != condition) continue;
      word = &(*at)->woken;
      take_off(at);
      __atomic_store_n(word, 1, __ATOMIC_RELEASE);
      break;
    }
  }
  if (word) bide_call(SYS_futex, sys::word(word), FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
  return word;
}

bool anybody_waits() noexcept { return waits.waiting.load() != 0; }

// glibc keeps in this word whether processes share the condition (1) and whether its time is CLOCK_MONOTONIC (2).
unsigned flags_of(const pthread_cond_t* condition) noexcept {
  return __atomic_load_n(&condition->__data.__wrefs, __ATOMIC_RELAXED);
}
bool is_shared(const pthread_cond_t* condition) noexcept { return flags_of(condition) & 1; }
clockid_t clock_of(const pthread_cond_t* condition) noexcept {
  return flags_of(condition) & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

int wait_for(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* limit) {
  if (limit && (limit->tv_nsec < 0 || limit->tv_nsec >= 1'000'000'000)) return EINVAL;
  place mine{condition};
  enlist(mine);
  if (const int error = pthread_mutex_unlock(mutex)) {
    withdraw(mine);
    return error;
  }
  const long how = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | (clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0);
  long end = 0;
  while (!__atomic_load_n(&mine.woken, __ATOMIC_ACQUIRE)) {
    end = bide_call(SYS_futex, sys::word(&mine.woken), how, 0, sys::word(limit), 0, FUTEX_BITSET_MATCH_ANY);
    if (end != -EINTR && end != -EAGAIN) break;
  }
  withdraw(mine);
  const int error = pthread_mutex_lock(mutex);
  if (error) return error;
  if (__atomic_load_n(&mine.woken, __ATOMIC_ACQUIRE) || !sys::failed(end)) return 0;
  const bool by_limit = end == -ETIMEDOUT && limit;
  if (!by_limit) bide_ended(end);
  return static_cast<int>(-end);
}

int as_c11(int error) noexcept {
  return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

}  // namespace

// A condition that processes share is waited for as ever: who signals it may be another process.
#define BIDE_CONDITION(n, parameters, arguments, unless, on_fiber_does)                    \
  namespace {                                                                              \
  BIDE_NAME(n);                                                                            \
  }                                                                                        \
  extern "C" BIDE_API int bide_door_##n parameters __asm__(#n);                            \
  extern "C" BIDE_API int bide_door_##n parameters {                                       \
    if (unless) on_fiber_does;                                                             \
    door::find_libc(n##_name);                                                             \
    return door::real<int parameters>(n##_name) arguments;                                 \
  }
#define BIDE_WAIT(n, parameters, arguments, ...) \
  BIDE_CONDITION(n, parameters, arguments, door::on_fiber() && !is_shared(condition), return __VA_ARGS__)

BIDE_WAIT(pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t* mutex), (condition, mutex),
          wait_for(condition, mutex, CLOCK_MONOTONIC, nullptr))
BIDE_WAIT(pthread_cond_timedwait, (pthread_cond_t * condition, pthread_mutex_t* mutex, const timespec* limit),
          (condition, mutex, limit), wait_for(condition, mutex, clock_of(condition), limit))
BIDE_WAIT(pthread_cond_clockwait,
          (pthread_cond_t * condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* limit),
          (condition, mutex, clock, limit), wait_for(condition, mutex, clock, limit))
BIDE_WAIT(cnd_wait, (pthread_cond_t * condition, pthread_mutex_t* mutex), (condition, mutex),
          as_c11(wait_for(condition, mutex, CLOCK_MONOTONIC, nullptr)))
BIDE_WAIT(cnd_timedwait, (pthread_cond_t * condition, pthread_mutex_t* mutex, const timespec* limit),
          (condition, mutex, limit), as_c11(wait_for(condition, mutex, CLOCK_REALTIME, limit)))

BIDE_CONDITION(pthread_cond_signal, (pthread_cond_t * condition), (condition), anybody_waits(),
               if (wake_one(condition)) return 0)
BIDE_CONDITION(cnd_signal, (pthread_cond_t * condition), (condition), anybody_waits(),
               if (wake_one(condition)) return thrd_success)
BIDE_CONDITION(pthread_cond_broadcast, (pthread_cond_t * condition), (condition), anybody_waits(),
               while (wake_one(condition)) {})
BIDE_CONDITION(cnd_broadcast, (pthread_cond_t * condition), (condition), anybody_waits(),
               while (wake_one(condition)) {})
