// libc's mutexes, read-write locks and once-only calls, when a fiber that holds one waits.
//
// A lock belongs to the kernel thread that took it, which fibers of one worker share, and its release wakes nobody but
// kernel threads. So a fiber tries, and tries again after a nap. Nothing ends such a wait but the lock: libc's has no answer
// that says so.
#include <bide/shield.hpp>
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "lib/door/locks.hpp"

namespace {

using namespace bide;

bool is_past(clockid_t clock, const timespec& limit) noexcept {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec > limit.tv_sec || (now.tv_sec == limit.tv_sec && now.tv_nsec >= limit.tv_nsec);
}

BIDE_NAME(pthread_mutex_trylock);
BIDE_NAME(pthread_rwlock_tryrdlock);
BIDE_NAME(pthread_rwlock_trywrlock);

// libc's own function: a tool that stands before it has counted the whole call and would count an attempt as one more.
template <door::name& n, class Lock>
int attempt(Lock* lock) noexcept {
  door::find_libc(n);
  return door::real<int(Lock*)>(n)(lock);
}

// Until `attempt` answers anything but EBUSY, or, with a limit, ETIMEDOUT.
template <class Attempt>
int tried(Attempt attempt, clockid_t clock = CLOCK_REALTIME, const timespec* limit = nullptr) noexcept {
  door::naps waits;
  for (int error;;) {
    if ((error = attempt()) != EBUSY) return error;
    if (limit && (limit->tv_nsec < 0 || limit->tv_nsec >= 1'000'000'000)) return EINVAL;
    if (limit && is_past(clock, *limit)) return ETIMEDOUT;
    waits.take();
  }
}

int as_c11(int error) noexcept {
  return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : error == EBUSY ? thrd_busy : thrd_error;
}

}  // namespace

namespace bide::door {

// A lock may be wanted while the fiber unwinds, so a cancel waits, and so does a deadline around it.
void nap(const timespec& length) noexcept {
  const detail::shield_scope kept_off;
  bide_call(SYS_nanosleep, sys::word(&length), 0, 0, 0, 0, 0);
}

void naps::take() noexcept {
  nap(base::to_timespec(length_));
  // Where time jumps from nap to nap, an hour isn't to be made of milliseconds.
  length_ = std::min(2 * length_, base::shown_time() ? 60 * base::second : 1'000'000L);
}

}  // namespace bide::door

#define BIDE_LOCK(n, parameters, arguments, on_fiber_does)                                 \
  namespace {                                                                              \
  BIDE_NAME(n);                                                                            \
  }                                                                                        \
  extern "C" BIDE_API int bide_door_##n parameters noexcept __asm__(#n);                   \
  extern "C" BIDE_API int bide_door_##n parameters noexcept {                              \
    if (door::on_fiber()) return on_fiber_does;                                            \
    door::find_libc(n##_name);                                                             \
    return door::real<int parameters>(n##_name) arguments;                                 \
  }

BIDE_LOCK(pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex), tried([=] { return attempt<pthread_mutex_trylock_name>(mutex); }))
BIDE_LOCK(pthread_mutex_timedlock, (pthread_mutex_t * mutex, const timespec* limit), (mutex, limit),
          tried([=] { return attempt<pthread_mutex_trylock_name>(mutex); }, CLOCK_REALTIME, limit))
BIDE_LOCK(pthread_mutex_clocklock, (pthread_mutex_t * mutex, clockid_t clock, const timespec* limit),
          (mutex, clock, limit), tried([=] { return attempt<pthread_mutex_trylock_name>(mutex); }, clock, limit))
BIDE_LOCK(mtx_lock, (pthread_mutex_t * mutex), (mutex), as_c11(tried([=] { return attempt<pthread_mutex_trylock_name>(mutex); })))
BIDE_LOCK(mtx_timedlock, (pthread_mutex_t * mutex, const timespec* limit), (mutex, limit),
          as_c11(tried([=] { return attempt<pthread_mutex_trylock_name>(mutex); }, CLOCK_REALTIME, limit)))

BIDE_LOCK(pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock), tried([=] { return attempt<pthread_rwlock_tryrdlock_name>(lock); }))
BIDE_LOCK(pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock), tried([=] { return attempt<pthread_rwlock_trywrlock_name>(lock); }))
BIDE_LOCK(pthread_rwlock_timedrdlock, (pthread_rwlock_t * lock, const timespec* limit), (lock, limit),
          tried([=] { return attempt<pthread_rwlock_tryrdlock_name>(lock); }, CLOCK_REALTIME, limit))
BIDE_LOCK(pthread_rwlock_timedwrlock, (pthread_rwlock_t * lock, const timespec* limit), (lock, limit),
          tried([=] { return attempt<pthread_rwlock_trywrlock_name>(lock); }, CLOCK_REALTIME, limit))
BIDE_LOCK(pthread_rwlock_clockrdlock, (pthread_rwlock_t * lock, clockid_t clock, const timespec* limit),
          (lock, clock, limit), tried([=] { return attempt<pthread_rwlock_tryrdlock_name>(lock); }, clock, limit))
BIDE_LOCK(pthread_rwlock_clockwrlock, (pthread_rwlock_t * lock, clockid_t clock, const timespec* limit),
          (lock, clock, limit), tried([=] { return attempt<pthread_rwlock_trywrlock_name>(lock); }, clock, limit))

// Once-only calls, which may park: fibers come to libc's own one by one, since it has the losers wait in the kernel.
namespace {

struct turn {
  const int* once;
  turn* next;
};
std::atomic<std::uint32_t> turns_lock{0};
turn* turns = nullptr;  // once-only calls that fibers are at; guarded by turns_lock

bool begin(turn& mine) noexcept {
  const door::list_guard guard(turns_lock);
  for (const turn* t = turns; t; t = t->next) {
    if (t->once == mine.once) return false;
  }
  mine.next = turns;
  turns = &mine;
  return true;
}

// glibc keeps 2 in a pthread_once_t when it is done, an odd number while somebody is at it.
bool is_done(const int* once) noexcept { return __atomic_load_n(once, __ATOMIC_ACQUIRE) & 2; }
bool in_progress(const int* once) noexcept { return __atomic_load_n(once, __ATOMIC_ACQUIRE) & 1; }

// Ends with its scope: what is called may throw.
class turn_scope {
 public:
  explicit turn_scope(const int* once) noexcept : mine_{once, nullptr} {
    // What std::call_once is to call is in the thread's own memory, and others may use it meanwhile.
    void* const callable = std::__once_callable;
    void (*const call)() = std::__once_call;
    for (door::naps waits; !is_done(once) && (in_progress(once) || !begin(mine_));) waits.take();
    std::__once_callable = callable;
    std::__once_call = call;
  }
  ~turn_scope() {
    const door::list_guard guard(turns_lock);
    for (turn** at = &turns; *at; at = &(*at)->next) {
      if (*at != &mine_) continue;
      *at = mine_.next;
      return;
    }
  }

 private:
  turn mine_;
};

}  // namespace

#define BIDE_ONCE(result, n, value)                                                        \
  namespace {                                                                              \
  BIDE_NAME(n);                                                                            \
  }                                                                                        \
  extern "C" BIDE_API result bide_door_##n(int* once, void (*what)()) __asm__(#n);         \
  extern "C" BIDE_API result bide_door_##n(int* once, void (*what)()) {                    \
    door::find_libc(n##_name);                                                             \
    const auto libc = door::real<result(int*, void (*)())>(n##_name);                      \
    if (is_done(once)) return value;                                                       \
    if (!door::on_fiber()) return libc(once, what);                                        \
    const turn_scope alone(once);                                                          \
    return libc(once, what);                                                               \
  }
BIDE_ONCE(int, pthread_once, 0)
BIDE_ONCE(void, call_once, void())
