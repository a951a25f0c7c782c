// Waits for threads beside the fibers, for their barriers and semaphores: on offload threads, as these have no owner.
//
// One may wait for what another fiber does first, however many wait already. A wait for a semaphore is ended by a signal, one
// for a thread by pthread_cancel(3): neither has taken anything then, as semaphores and joins promise. Who leaves a barrier would
// break it for the others, so that wait isn't ended.
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>

#include "lib/door/elsewhere.hpp"

BIDE_ELSEWHERE_BY(bide_await_elsewhere, int, pthread_barrier_wait, (pthread_barrier_t * barrier), (barrier), EAGAIN)

// What `n` answers when it was ended: as_it_says(error number).
#define BIDE_JOIN(n, parameters, arguments, as_it_says)                              \
  namespace {                                                                        \
  BIDE_NAME(n);                                                                      \
  }                                                                                  \
  extern "C" BIDE_API int n parameters {                                             \
    using namespace ::bide;                                                          \
    const auto libc = door::real<int parameters>(n##_name);                          \
    if (!libc) return as_it_says(EAGAIN);                                            \
    if (!door::on_fiber()) return libc arguments;                                    \
    int answer = 0;                                                                  \
    const long end = door::until_ended(#n, bide_by_cancel, [&] {                     \
      answer = libc arguments;                                                       \
      return 0L;                                                                     \
    });                                                                              \
    if (!end) return answer;                                                         \
    bide_ended(end);                                                                 \
    return as_it_says(static_cast<int>(-end));                                       \
  }

namespace {
int error_number(int error) noexcept { return error; }
int thread_error(int error) noexcept { return static_cast<void>(errno = error), thrd_error; }
}  // namespace

BIDE_JOIN(pthread_join, (pthread_t thread, void** result), (thread, result), error_number)
BIDE_JOIN(pthread_timedjoin_np, (pthread_t thread, void** result, const timespec* limit), (thread, result, limit), error_number)
BIDE_JOIN(pthread_clockjoin_np, (pthread_t thread, void** result, clockid_t clock, const timespec* limit),
          (thread, result, clock, limit), error_number)
BIDE_JOIN(thrd_join, (thrd_t thread, int* result), (thread, result), thread_error)

#define BIDE_SEMAPHORE(n, parameters, arguments)                                     \
  namespace {                                                                        \
  BIDE_NAME(n);                                                                      \
  }                                                                                  \
  extern "C" BIDE_API int n parameters {                                             \
    using namespace ::bide;                                                          \
    const auto libc = door::real<int parameters>(n##_name);                          \
    if (!libc) return static_cast<int>(door::with_errno(-ENOSYS));                   \
    if (!door::on_fiber()) return libc arguments;                                    \
    const int before = errno;                                                        \
    if (sem_trywait(semaphore) == 0) return 0;                                       \
    if (errno != EAGAIN) return -1;                                                  \
    errno = before;                                                                  \
    int answer = -1;                                                                 \
    const long end = door::until_ended(#n, bide_by_any, [&] {                        \
      answer = libc arguments;                                                       \
      return answer == -1 && errno == EINTR ? -EINTR : 0L;                           \
    });                                                                              \
    if (!end) return answer;                                                         \
    bide_ended(end);                                                                 \
    return static_cast<int>(door::with_errno(end));                                  \
  }
BIDE_SEMAPHORE(sem_wait, (sem_t * semaphore), (semaphore))
BIDE_SEMAPHORE(sem_timedwait, (sem_t * semaphore, const timespec* limit), (semaphore, limit))
BIDE_SEMAPHORE(sem_clockwait, (sem_t * semaphore, clockid_t clock, const timespec* limit), (semaphore, clock, limit))
