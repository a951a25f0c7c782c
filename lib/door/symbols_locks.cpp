// libc's mutexes and read-write locks, when a fiber that holds one waits.
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#include "lib/door/holder.hpp"
#include "lib/door/locks.hpp"

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

bool is_free_again(int error) noexcept { return error == 0 || error == EOWNERDEAD; }

int try_mutex(pthread_mutex_t* mutex) noexcept {
  held_mutex held(mutex);
  if (!held.has_holder()) return by_libc<pthread_mutex_trylock_name>(mutex);
  if (held.is_anothers()) return EBUSY;
  const int error = by_libc<pthread_mutex_trylock_name>(mutex);
  if (is_free_again(error)) held.note(door::my_number());
  return error;
}

int lock_mutex(pthread_mutex_t* mutex, clockid_t clock = CLOCK_MONOTONIC, const timespec* limit = nullptr) noexcept {
  if (const held_mutex held(mutex); held.refuses_holder() && held.is_mine()) return EDEADLK;
  return door::until_free(mutex, "a mutex", [=] { return try_mutex(mutex); }, clock, limit);
}

int unlock_mutex(pthread_mutex_t* mutex) noexcept {
  held_mutex held(mutex);
  if (!held.has_holder()) return by_libc<pthread_mutex_unlock_name>(mutex);
  if (held.is_anothers()) return EPERM;
  const bool mine = held.is_mine(), goes = mine && held.is_held_once();
  if (goes) held.note(0);
  const int error = by_libc<pthread_mutex_unlock_name>(mutex);
  if (error && goes) held.note(door::my_number());
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
#define BIDE_UNLOCK(n, libc, parameters, arguments, on_fiber_does, count, success)         \
  extern "C" BIDE_API int bide_door_##n parameters noexcept __asm__(#n);                   \
  extern "C" BIDE_API int bide_door_##n parameters noexcept {                              \
    const int error = door::on_fiber() ? on_fiber_does : door::libcs<int parameters>(libc) arguments; \
    if (error == success) door::tell_waiters(BIDE_UNPACK arguments, count);                \
    return error;                                                                          \
  }
namespace {
BIDE_NAME(mtx_unlock);

int unlock_to_write(pthread_rwlock_t* lock) noexcept {
  writer(lock).note(0);
  return by_libc<pthread_rwlock_unlock_name>(lock);
}
}  // namespace
BIDE_UNLOCK(pthread_mutex_unlock, pthread_mutex_unlock_name, (pthread_mutex_t * mutex), (mutex), unlock_mutex(mutex), 1, 0)
BIDE_UNLOCK(mtx_unlock, mtx_unlock_name, (pthread_mutex_t * mutex), (mutex), as_c11(unlock_mutex(mutex)), 1, thrd_success)
BIDE_UNLOCK(pthread_rwlock_unlock, pthread_rwlock_unlock_name, (pthread_rwlock_t * lock), (lock), unlock_to_write(lock), INT_MAX, 0)
