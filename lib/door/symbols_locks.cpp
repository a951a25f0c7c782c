// libc's mutexes and read-write locks, when a fiber that holds one waits.
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#include "lib/door/holder.hpp"
#include "lib/door/locks.hpp"
#include "lib/door/robust.hpp"

namespace {

using namespace bide;
using door::held_mutex;
using door::writer;

BIDE_NAME(pthread_mutex_trylock);
BIDE_NAME(pthread_mutex_unlock);
BIDE_NAME(pthread_rwlock_tryrdlock);
BIDE_NAME(pthread_rwlock_trywrlock);
BIDE_NAME(pthread_rwlock_unlock);

// libc's own function: a tool that stands before it has counted the whole call and would count an attempt as one more.
template <door::name& n, class Lock>
int by_libc(Lock* lock) noexcept {
  return door::libcs<int(Lock*)>(n)(lock);
}

int try_mutex(pthread_mutex_t* mutex) noexcept {
  held_mutex held(mutex);
  if (!held.has_holder()) return by_libc<pthread_mutex_trylock_name>(mutex);
  if (held.is_anothers()) return EBUSY;
  const int error = by_libc<pthread_mutex_trylock_name>(mutex);
  // One that the thread has held before it was a worker stays the thread's.
  if ((error == 0 || error == EOWNERDEAD) && held.is_held_once()) {
    held.note(door::my_number());
    if (held.is_robust()) door::has_robust_mutex();
  }
  return error;
}

int lock_mutex(pthread_mutex_t* mutex, clockid_t clock = CLOCK_MONOTONIC, const timespec* limit = nullptr) noexcept {
  if (const held_mutex held(mutex); held.refuses_holder() && held.is_mine()) return EDEADLK;
  return door::until_free(mutex, "a mutex", [=] { return try_mutex(mutex); }, clock, limit);
}

int unlock_mutex(pthread_mutex_t* mutex) noexcept {
  held_mutex held(mutex);
  std::uint32_t holder = 0;
  if (held.has_holder()) {
    if (door::on_fiber() && held.is_anothers()) return EPERM;
    // What a fiber has left the thread that has run it may let go of.
    if ((door::on_fiber() ? held.is_mine() : held.is_left_to_thread()) && held.is_held_once()) holder = held.number();
  }
  if (holder) held.note(0);
  const int error = by_libc<pthread_mutex_unlock_name>(mutex);
  if (error && holder) held.note(holder);
  return error;
}

// libc asks for the clock of a mutex's limit, and for all of a read-write lock's, before it looks at the lock.
bool is_clock(clockid_t clock) noexcept { return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC; }
bool is_limit(clockid_t clock, const timespec* limit) noexcept {
  return !limit || (is_clock(clock) && limit->tv_nsec >= 0 && limit->tv_nsec < 1'000'000'000);
}

int lock_to_read(pthread_rwlock_t* lock, clockid_t clock = CLOCK_MONOTONIC, const timespec* limit = nullptr) noexcept {
  if (!is_limit(clock, limit)) return EINVAL;
  if (writer(lock).is_me()) return EDEADLK;
  return door::until_free(lock, "a read-write lock", [=] { return by_libc<pthread_rwlock_tryrdlock_name>(lock); }, clock, limit);
}

int try_to_write(pthread_rwlock_t* lock) noexcept {
  const int error = by_libc<pthread_rwlock_trywrlock_name>(lock);
  if (!error) writer(lock).note(door::my_number());
  return error;
}

int lock_to_write(pthread_rwlock_t* lock, clockid_t clock = CLOCK_MONOTONIC, const timespec* limit = nullptr) noexcept {
  if (!is_limit(clock, limit)) return EINVAL;
  if (writer(lock).is_me()) return EDEADLK;
  return door::until_free(lock, "a read-write lock", [=] { return try_to_write(lock); }, clock, limit);
}

int unlock_read_or_written(pthread_rwlock_t* lock) noexcept {
  if (door::on_fiber()) writer(lock).note(0);
  return by_libc<pthread_rwlock_unlock_name>(lock);
}

int as_c11(int error) noexcept {
  return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : error == EBUSY ? thrd_busy : thrd_error;
}

}  // namespace

#define BIDE_LOCK(n, parameters, arguments, on_fiber_does)                                 \
  namespace {                                                                              \
  BIDE_NAME(n);                                                                            \
  }                                                                                        \
  BIDE_LOCK_OF(n, n##_name, parameters, arguments, on_fiber_does)
#define BIDE_LOCK_OF(n, libc, parameters, arguments, on_fiber_does)                        \
  extern "C" BIDE_API int bide_door_##n parameters noexcept __asm__(#n);                   \
  extern "C" BIDE_API int bide_door_##n parameters noexcept {                              \
    if (door::on_fiber()) return on_fiber_does;                                            \
    return door::libcs<int parameters>(libc) arguments;                                    \
  }

BIDE_LOCK(pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex), lock_mutex(mutex))
BIDE_LOCK(pthread_mutex_timedlock, (pthread_mutex_t * mutex, const timespec* limit), (mutex, limit),
          lock_mutex(mutex, CLOCK_REALTIME, limit))
BIDE_LOCK(pthread_mutex_clocklock, (pthread_mutex_t * mutex, clockid_t clock, const timespec* limit), (mutex, clock, limit),
          is_clock(clock) ? lock_mutex(mutex, clock, limit) : EINVAL)
BIDE_LOCK_OF(pthread_mutex_trylock, pthread_mutex_trylock_name, (pthread_mutex_t * mutex), (mutex), try_mutex(mutex))
BIDE_LOCK(mtx_lock, (pthread_mutex_t * mutex), (mutex), as_c11(lock_mutex(mutex)))
BIDE_LOCK(mtx_timedlock, (pthread_mutex_t * mutex, const timespec* limit), (mutex, limit),
          as_c11(lock_mutex(mutex, CLOCK_REALTIME, limit)))
BIDE_LOCK(mtx_trylock, (pthread_mutex_t * mutex), (mutex), as_c11(try_mutex(mutex)))

BIDE_LOCK(pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock), lock_to_read(lock))
BIDE_LOCK(pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock), lock_to_write(lock))
BIDE_LOCK(pthread_rwlock_timedrdlock, (pthread_rwlock_t * lock, const timespec* limit), (lock, limit),
          lock_to_read(lock, CLOCK_REALTIME, limit))
BIDE_LOCK(pthread_rwlock_timedwrlock, (pthread_rwlock_t * lock, const timespec* limit), (lock, limit),
          lock_to_write(lock, CLOCK_REALTIME, limit))
BIDE_LOCK(pthread_rwlock_clockrdlock, (pthread_rwlock_t * lock, clockid_t clock, const timespec* limit), (lock, clock, limit),
          lock_to_read(lock, clock, limit))
BIDE_LOCK(pthread_rwlock_clockwrlock, (pthread_rwlock_t * lock, clockid_t clock, const timespec* limit), (lock, clock, limit),
          lock_to_write(lock, clock, limit))
BIDE_LOCK_OF(pthread_rwlock_trywrlock, pthread_rwlock_trywrlock_name, (pthread_rwlock_t * lock), (lock), try_to_write(lock))

// Whoever lets go tells the fibers that wait, on any thread.
#define BIDE_UNLOCK(n, type, does, success, count)                                         \
  extern "C" BIDE_API int bide_door_##n(type* lock) noexcept __asm__(#n);                  \
  extern "C" BIDE_API int bide_door_##n(type* lock) noexcept {                             \
    const int answer = does;                                                               \
    if (answer == success) door::tell_waiters(lock, count);                                \
    return answer;                                                                         \
  }
BIDE_UNLOCK(pthread_mutex_unlock, pthread_mutex_t, unlock_mutex(lock), 0, 1)
BIDE_UNLOCK(mtx_unlock, pthread_mutex_t, as_c11(unlock_mutex(lock)), thrd_success, 1)
BIDE_UNLOCK(pthread_rwlock_unlock, pthread_rwlock_t, unlock_read_or_written(lock), 0, INT_MAX)
