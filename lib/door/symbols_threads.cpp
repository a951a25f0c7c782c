// Waits for threads beside the fibers, for their barriers and semaphores: on offload threads, as these have no owner.
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>

#include "lib/door/elsewhere.hpp"

// One may wait for what another fiber does first, however many wait already.
#define BIDE_WAIT(...) BIDE_ELSEWHERE_BY(bide_await_elsewhere, __VA_ARGS__)

BIDE_WAIT(int, pthread_join, (pthread_t thread, void** result), (thread, result), EAGAIN)
BIDE_WAIT(int, pthread_timedjoin_np, (pthread_t thread, void** result, const timespec* limit),
               (thread, result, limit), EAGAIN)
BIDE_WAIT(int, pthread_clockjoin_np, (pthread_t thread, void** result, clockid_t clock, const timespec* limit),
               (thread, result, clock, limit), EAGAIN)
BIDE_WAIT(int, thrd_join, (thrd_t thread, int* result), (thread, result), thrd_error)
BIDE_WAIT(int, pthread_barrier_wait, (pthread_barrier_t * barrier), (barrier), EAGAIN)

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
    const auto wait = [&] { answer = libc arguments; };                              \
    if (!door::elsewhere(#n, wait, bide_await_elsewhere)) errno = EAGAIN;            \
    return answer;                                                                   \
  }
BIDE_SEMAPHORE(sem_wait, (sem_t * semaphore), (semaphore))
BIDE_SEMAPHORE(sem_timedwait, (sem_t * semaphore, const timespec* limit), (semaphore, limit))
BIDE_SEMAPHORE(sem_clockwait, (sem_t * semaphore, clockid_t clock, const timespec* limit), (semaphore, clock, limit))
