// What the stdio doors share: whether a stream's function would wait, and how it is then done beside others.
//
// What the stream's buffer has, or has room for, is done at once. Else libc's function runs on an offload thread, which then
// is the one that holds the lock: by libc's lights fibers of one worker are one thread and would be let in together.
// Regular files are never waited for here.
//
// What that costs with a file is in lib/call/README.md.
#pragma once

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "lib/call/border.hpp"
#include "lib/door/elsewhere.hpp"
#include "lib/door/locks.hpp"

namespace bide::door {

// glibc's _IO_lock_t, which has not changed from 2.31 to 2.42: a word, a count, the holder's pthread_t.
inline bool is_held_by_caller(FILE* f) noexcept {
  struct lock { int word, count; const void* holder; };
  const auto* l = reinterpret_cast<const lock*>(f->_lock);
  return l && __atomic_load_n(&l->holder, __ATOMIC_RELAXED) == reinterpret_cast<const void*>(pthread_self());
}

inline bool may_wait(FILE* f) noexcept {
  struct stat s;
  const int fd = fileno_unlocked(f);
  return fd >= 0 && fstat(fd, &s) == 0 && (S_ISFIFO(s.st_mode) || S_ISSOCK(s.st_mode) || S_ISCHR(s.st_mode));
}

// On a fiber: waits for the stream's lock.
inline void lock_beside_others(FILE* f) noexcept {
  until_free(f, "a stream", [=] { return ftrylockfile(f) ? EBUSY : 0; });
}
inline void unlock(FILE* f) noexcept {
  funlockfile(f);
  tell_waiters(f, 1);
}

// On an offload thread: takes the stream's lock. Returns false when a signal ended that.
inline bool lock(FILE* f) noexcept {
  for (timespec pause{0, 50'000}; ftrylockfile(f) != 0; pause.tv_nsec = std::min(2 * pause.tv_nsec, 1'000'000L)) {
    if (raw(SYS_nanosleep, &pause, nullptr) == -EINTR) return false;
  }
  return true;
}

// ThreadSanitizer knows nothing of libc's locks.
[[gnu::no_sanitize("thread")]] inline void set_error(FILE* f) noexcept { f->_flags |= _IO_ERR_SEEN; }

// Does `work` here if it doesn't wait, else elsewhere. Who holds the stream already, by flockfile, does it as ever. Returns 0, or
// what ended it, which is in errno then; libc's function has returned as for a read or write that failed, or hasn't begun.
// `away`: the same as `work`, elsewhere.
template <class Ready, class Work, class Away>
long carefully(FILE* f, Ready ready, Work work, Away away) noexcept {
  if (!on_fiber() || (f->_flags & _IO_USER_LOCK) || is_held_by_caller(f)) return work(), 0;
  const int error = errno;
  if (ftrylockfile(f) == 0) {
    const bool here = ready() || !may_wait(f);
    errno = error;
    if (here) work();
    unlock(f);
    if (here) return 0;
  }
  errno = error;
  const unsigned long mask = signal_mask();
  const long end = until_ended("stdio", bide_but_handlers, [&] {
    const as_if_masked callers(mask);  // for SIGPIPE
    if (!lock(f)) return -EINTR;
    const int before = std::exchange(errno, 0);
    away();
    const bool cut = errno == EINTR;
    if (!errno) errno = before;
    unlock(f);
    return cut ? -EINTR : 0;
  });
  if (end == -EAGAIN) return work(), 0;
  if (end == -ECANCELED || end == -ETIMEDOUT) {
    if (ftrylockfile(f) == 0) {  // it may not have come that far
      set_error(f);
      unlock(f);
    }
    errno = static_cast<int>(-end);
    return end;
  }
  return 0;  // or ended by a signal of the program's, as libc says it
}
template <class Ready, class Work>
long carefully(FILE* f, Ready ready, Work work) noexcept {
  return carefully(f, ready, work, work);
}

// What has something to show for itself returns that, and the fiber that unwinds does so at its next wait.
inline void tell(long end, bool shown) {
  if (!end) return;
  if (shown) bide_ended_short(end);
  else bide_ended(end);
}

// Can what its buffer has, and so much more, be written? A pipe that can be written takes a page: pipe(7), PIPE_BUF. A socket
// takes more than that.
inline bool drains(FILE* f, std::size_t more) noexcept {
  if (__fpending(f) + more > 4096) return false;
  pollfd room{fileno_unlocked(f), POLLOUT, 0};
  return raw(SYS_poll, &room, 1, 0) == 1;
}

// What must not wait for more than the stream's lock, whatever would end a wait from outside.
template <class Work>
auto held(FILE* f, Work work) noexcept {
  if (!on_fiber() || (f->_flags & _IO_USER_LOCK) || is_held_by_caller(f)) return work();
  const int error = errno;
  lock_beside_others(f);
  errno = error;
  const auto answer = work();
  unlock(f);
  return answer;
}

}  // namespace bide::door

// A name of libc's and how it is done.
#define BIDE_STREAM(result, n, parameters, ...)              \
  extern "C" BIDE_API result bide_door_##n parameters __asm__(#n); \
  extern "C" BIDE_API result bide_door_##n parameters { return __VA_ARGS__; }

// The same of those that print and scan.
#define BIDE_LISTED(n, parameters, ...) BIDE_STREAM(int, n, parameters, __VA_ARGS__)
#define BIDE_VARIADIC(n, parameters, ...)                                              \
  extern "C" BIDE_API int bide_door_##n parameters __asm__(#n);                        \
  extern "C" BIDE_API int bide_door_##n parameters {                                   \
    va_list list;                                                                      \
    va_start(list, format);                                                            \
    const int answer = __VA_ARGS__;                                                    \
    va_end(list);                                                                      \
    return answer;                                                                     \
  }
