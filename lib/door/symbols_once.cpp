// Once-only calls, which may park: fibers come to libc's own one by one, since it has the losers wait in the kernel.
#include <limits.h>
#include <pthread.h>
#include <threads.h>

#include <mutex>

#include "lib/door/locks.hpp"

namespace {

using namespace bide;

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
    door::until_free(once, "what is called once", [&] { return is_done(once) || (!in_progress(once) && begin(mine_)) ? 0 : EBUSY; });
    std::__once_callable = callable;
    std::__once_call = call;
  }
  ~turn_scope() {
    {
      const door::list_guard guard(turns_lock);
      for (turn** at = &turns; *at; at = &(*at)->next) {
        if (*at != &mine_) continue;
        *at = mine_.next;
        break;
      }
    }
    door::tell_waiters(mine_.once, INT_MAX);
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
    const auto libc = door::libcs<result(int*, void (*)())>(n##_name);                     \
    if (is_done(once)) return value;                                                       \
    if (!door::on_fiber()) return libc(once, what);                                        \
    const turn_scope alone(once);                                                          \
    return libc(once, what);                                                               \
  }
BIDE_ONCE(int, pthread_once, 0)
BIDE_ONCE(void, call_once, void())
