// futex(2). Words of this process alone are the runtime's; those that may be shared with others are waited for in the
// kernel, on a kernel thread that leaves its worker to another meanwhile.
//
// Where threads are kernel threads beside the fibers, those wait for the same words in the kernel: who is woken is counted
// here first, and then there. Words that hold their owner's thread id are the kernel's there.
#include <errno.h>
#include <linux/futex.h>

#include <atomic>

#include "lib/base/assert.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/sync/futex.hpp"
#ifdef BIDE_PRELOAD
#include "lib/call/serve.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/threads.hpp"
#endif

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13  // Linux 5.14
#endif

namespace bide::call {
namespace {

using sync::futex_word;

// When a wait ends, on the monotonic clock. Returns 0 or -errno.
long read_deadline(long at, bool absolute, bool realtime, std::int64_t& until) noexcept {
  until = base::never;
  if (!at) return 0;
  timespec t;
  if (const long error = copy_in(&t, reinterpret_cast<void*>(at), sizeof t)) return error;
  if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= base::second) return -EINVAL;
  if (t.tv_sec > base::never / base::second - 1) return 0;
  const std::int64_t time = t.tv_sec * base::second + t.tv_nsec;
  if (!absolute) {
    until = base::after(base::now(), time);
  } else if (realtime) {
    until = base::after(base::now(), time - base::time_of(CLOCK_REALTIME));
  } else {
    until = time;
  }
  return 0;
}

long count_of(long value) noexcept { return static_cast<int>(value); }

long wait(futex_word* word, long operation, long value, long timeout, long bits, bool absolute) noexcept {
  if (!static_cast<futex_word>(bits)) return -EINVAL;
  std::int64_t until;
  if (const long error = read_deadline(timeout, absolute, operation & FUTEX_CLOCK_REALTIME, until)) return error;
  for (;;) {
    const long end = sync::futex_wait(*word, static_cast<futex_word>(value), static_cast<futex_word>(bits), until);
    if (end != -EINTR) return end;
    const core::fiber* me = core::this_fiber();
#ifndef BIDE_PRELOAD
    // It was told so before, and has no answer for it but to ask again.
    BIDE_ASSERT(!me || me->home->stuck < 2, "a fiber asks again for a futex that nobody is left to wake");
#endif
    // With a timeout it goes on by a restart block, which a handler ends: restart_syscall(2).
    const bool by_signal = me && me->interrupted;
    if (signal_seen(timeout != 0) == after_signal::report || !by_signal) return end;
  }
}

#ifdef BIDE_PRELOAD
long lock(futex_word* word, long timeout, bool realtime) noexcept {
  std::int64_t until;
  if (const long error = read_deadline(timeout, true, realtime, until)) return error;
  const long end = sync::futex_lock_owned(*word, core::this_thread()->tid, until);
  if (end != -EINTR) return end;
  signal_seen(false);
  return restarted_always;  // libc takes any other answer for the lock
}

// Words with an owner that other processes share: the kernel would not know our owners, so they are taken and given here,
// and only waited for there. Who took one after a wait leaves FUTEX_WAITERS, as others may wait.
bool take_shared(futex_word& word, futex_word now) noexcept {
  const futex_word mine = core::this_thread()->tid | (now & FUTEX_OWNER_DIED) | FUTEX_WAITERS;
  return std::atomic_ref(word).compare_exchange_strong(now, mine);
}

long lock_shared(futex_word& word, long timeout, bool realtime) noexcept {
  for (;;) {
    futex_word now = std::atomic_ref(word).load();
    if ((now & FUTEX_TID_MASK) == core::this_thread()->tid) return -EDEADLK;
    if (!(now & FUTEX_TID_MASK)) {
      if (take_shared(word, now)) return 0;
      continue;
    }
    const futex_word seen = now | FUTEX_WAITERS;
    if (now != seen && !std::atomic_ref(word).compare_exchange_strong(now, seen)) continue;
    const bool others = core::live_threads() > 1;
    const long end = core::call_kernel(SYS_futex, sys::word(&word), FUTEX_WAIT_BITSET | (realtime ? FUTEX_CLOCK_REALTIME : 0),
                                       seen, timeout, 0, sync::any_bit,
                                       others ? core::waiting::surely : core::waiting::maybe);
    if (end == -EINTR) {
      signal_seen(false);
      return restarted_always;
    }
    if (end != 0 && end != -EAGAIN) return end;
  }
}

long try_shared(futex_word& word) noexcept {
  const futex_word now = std::atomic_ref(word).load();
  if ((now & FUTEX_TID_MASK) == core::this_thread()->tid) return -EDEADLK;
  return !(now & FUTEX_TID_MASK) && take_shared(word, now) ? 0 : -EAGAIN;
}

long unlock_shared(futex_word& word) noexcept {
  if ((std::atomic_ref(word).load() & FUTEX_TID_MASK) != core::this_thread()->tid) return -EPERM;
  std::atomic_ref(word).store(0);
  sys::raw(SYS_futex, &word, FUTEX_WAKE, 1);
  return 0;
}
#endif

long wait_in_kernel(long at, long operation, long value, long timeout, long bits) noexcept {
  const restarts how = timeout ? restarts::no : restarts::yes;
  timespec limit;
  if (timeout && base::shown_time() && (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) [[unlikely]] {
    std::int64_t until;
    if (const long error = read_deadline(timeout, true, operation & FUTEX_CLOCK_REALTIME, until)) return error;
    limit = base::to_timespec(base::kernel_time(until));
    timeout = sys::word(&limit);
    operation &= ~FUTEX_CLOCK_REALTIME;
  }
#ifdef BIDE_PRELOAD
  return offloaded("a futex", -1, how, SYS_futex, at, operation, value, timeout, 0, bits);
#else
  // On a thread beyond the limit: who is to wake it may need an offload thread first.
  for (;;) {
    const auto in_kernel = [=] { return attempt(SYS_futex, at, operation, value, timeout, 0, bits); };
    io::offload_call call;
    call.limit = io::offload_limit::beyond;
    call.point = core::cancel_point::if_new;
    call.make = [](void* p) { return (*static_cast<decltype(in_kernel)*>(p))(); };
    call.of = const_cast<void*>(static_cast<const void*>(&in_kernel));
    const long answer = core::this_worker()->reactor->offload(-1, call, "a futex");
    if (answer == -ECANCELED) core::keep_cancel(*core::this_fiber());
    if (call.answer == -EINTR && answer != -EINTR) return -EINTR;  // ended from outside
    const after_signal signal = signal_seen(how == restarts::no);
    if (answer != -EINTR || signal == after_signal::report) return answer;
  }
#endif
}

#ifdef BIDE_PRELOAD
constexpr bool threads_beside = false;
#else
constexpr bool threads_beside = true;
#endif

}  // namespace

long futex_call(long at, long operation, long value, long timeout, long at2, long value3) {
  auto* const word = reinterpret_cast<futex_word*>(at);
  auto* const word2 = reinterpret_cast<futex_word*>(at2);
  const long command = operation & FUTEX_CMD_MASK;
  if (at % 4) return -EINVAL;
  if (static_cast<unsigned long>(at) < 4096 || at < 0) return -EFAULT;
  const bool shared = !(operation & FUTEX_PRIVATE_FLAG);
  const bool in_kernel = shared || threads_beside;  // somebody may wait for the word there
  const auto kernel = [&](long count) { return attempt(SYS_futex, at, operation, count, timeout, at2, value3); };
  switch (command) {
    case FUTEX_WAIT: case FUTEX_WAIT_BITSET:
#ifdef BIDE_PRELOAD
      // pthread_join waits on the word that an exit sets to 0 as if other processes might: it is one of ours.
      if (shared && !core::will_clear(static_cast<futex_word>(value), word)) {
        if (core::live_threads() > 1 || base::shown_time()) return wait_in_kernel(at, operation, value, timeout, value3);
        return core::call_kernel(SYS_futex, at, operation, value, timeout, at2, value3);
      }
#else
      if (shared) return wait_in_kernel(at, operation, value, timeout, value3);
#endif
      if (command == FUTEX_WAIT) return wait(word, operation, value, timeout, -1, false);
      return wait(word, operation, value, timeout, value3, true);
    case FUTEX_WAKE: case FUTEX_WAKE_BITSET: {
      const auto bits = command == FUTEX_WAKE ? sync::any_bit : static_cast<futex_word>(value3);
      if (!bits) return -EINVAL;
      const long woken = sync::futex_wake(*word, count_of(value), bits);
      if (!in_kernel || woken >= count_of(value)) return woken;
      const long others = kernel(value - woken);
      return others < 0 ? others : woken + others;
    }
    case FUTEX_REQUEUE: case FUTEX_CMP_REQUEUE: {
      if (at2 % 4 || count_of(value) < 0 || count_of(timeout) < 0) return -EINVAL;
      if (shared) return kernel(value);
      const long ours = command == FUTEX_REQUEUE
                            ? sync::futex_requeue(*word, count_of(value), *word2, count_of(timeout))
                            : sync::futex_requeue_if(*word, count_of(value), *word2, count_of(timeout),
                                                     static_cast<futex_word>(value3));
      return ours == 0 && in_kernel ? kernel(value) : ours;
    }
    case FUTEX_WAKE_OP: {
      if (at2 % 4) return -EINVAL;
      if (!in_kernel) {
        return sync::futex_wake_op(*word, count_of(value), *word2, count_of(timeout), static_cast<futex_word>(value3));
      }
      // Done once, there; a fiber at the second word may be woken for nothing, which futex(2) allows.
      const long others = kernel(value);
      if (shared || others < 0) return others;
      return others + sync::futex_wake(*word, count_of(value)) + sync::futex_wake(*word2, count_of(timeout));
    }
#ifdef BIDE_PRELOAD
    case FUTEX_LOCK_PI: case FUTEX_LOCK_PI2: {
      const bool realtime = command == FUTEX_LOCK_PI || (operation & FUTEX_CLOCK_REALTIME);
      return shared ? lock_shared(*word, timeout, realtime) : lock(word, timeout, realtime);
    }
    case FUTEX_TRYLOCK_PI: return shared ? try_shared(*word) : sync::futex_try_owned(*word, core::this_thread()->tid);
    case FUTEX_UNLOCK_PI: return shared ? unlock_shared(*word) : sync::futex_unlock_owned(*word, core::this_thread()->tid);
    default: return -ENOSYS;
#else
    default: return kernel(value);
#endif
  }
}

}  // namespace bide::call
