// libc's condition variables: a fiber that waits for one gives the mutex back and parks.
//
// Fibers that wait are listed by the condition's address; libc knows of none of them. So who signals looks there first, and
// wakes in libc whoever is left. POSIX lets a wait end for nothing, which is all that is asked of a wake here.
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <threads.h>

#include <atomic>

#include "lib/door/holder.hpp"

namespace {

using namespace bide;

std::atomic<std::uint32_t> waiting{0};  // fibers that do; any thread

bool anybody_waits() noexcept { return waiting.load() != 0; }

// glibc keeps in this word whether processes share the condition (1) and whether its time is CLOCK_MONOTONIC (2).
unsigned flags_of(const pthread_cond_t* condition) noexcept {
  return __atomic_load_n(&condition->__data.__wrefs, __ATOMIC_RELAXED);
}
bool is_shared(const pthread_cond_t* condition) noexcept { return flags_of(condition) & 1; }
clockid_t clock_of(const pthread_cond_t* condition) noexcept {
  return flags_of(condition) & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

// A wait that a cancel or a deadline ends is told as one that was woken for nothing: a condition has no error for it, and
// callers abort at one they don't know. So it ends once for each, whoever asks again in a loop waits on.
int wait_for(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* limit) {
  if (limit && (limit->tv_nsec < 0 || limit->tv_nsec >= 1'000'000'000)) return EINVAL;
  if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) return EINVAL;
  waiting.fetch_add(1);
  const long end = bide_wait_at(condition, [](void* m) { return pthread_mutex_unlock(static_cast<pthread_mutex_t*>(m)); },
                                mutex, clock, limit, "a condition variable");
  waiting.fetch_sub(1);
  if (end > 0) return static_cast<int>(end);
  if (const int error = pthread_mutex_lock(mutex)) return error;
  if (end == -EDEADLK) bide_lost();
  bide_ended(end);
  return end == -ETIMEDOUT && limit ? ETIMEDOUT : 0;
}

// By libc, on the worker: who signals a condition that processes share may be in another one, and so may be who holds the mutex
// meanwhile.
template <class Wait>
int wait_in_libc(pthread_mutex_t* mutex, Wait wait) noexcept {
  door::held_mutex held(mutex);
  if (held.has_holder() && held.is_anothers()) return EPERM;
  const bool mine = held.has_holder() && held.is_mine();
  if (mine && held.is_held_once()) held.note(0);
  const int error = wait();
  if (mine) held.note(door::my_number());
  return error;
}

int as_c11(int error) noexcept {
  return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

}  // namespace

#define BIDE_CONDITION(n, parameters, arguments, ...)                                      \
  namespace {                                                                              \
  BIDE_NAME(n);                                                                            \
  }                                                                                        \
  extern "C" BIDE_API int bide_door_##n parameters __asm__(#n);                            \
  extern "C" BIDE_API int bide_door_##n parameters {                                       \
    const auto libc = door::libcs<int parameters>(n##_name);                               \
    __VA_ARGS__;                                                                           \
    return libc arguments;                                                                 \
  }
#define BIDE_WAIT(n, parameters, arguments, ...)                                           \
  BIDE_CONDITION(n, parameters, arguments, if (door::on_fiber()) return is_shared(condition) \
                     ? wait_in_libc(mutex, [&] { return libc arguments; }) : __VA_ARGS__)

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

BIDE_CONDITION(pthread_cond_signal, (pthread_cond_t * condition), (condition), if (anybody_waits() && bide_wake_at(condition, 1)) return 0)
BIDE_CONDITION(cnd_signal, (pthread_cond_t * condition), (condition),
               if (anybody_waits() && bide_wake_at(condition, 1)) return thrd_success)
BIDE_CONDITION(pthread_cond_broadcast, (pthread_cond_t * condition), (condition),
               if (anybody_waits()) bide_wake_at(condition, INT_MAX))
BIDE_CONDITION(cnd_broadcast, (pthread_cond_t * condition), (condition),
               if (anybody_waits()) bide_wake_at(condition, INT_MAX))
