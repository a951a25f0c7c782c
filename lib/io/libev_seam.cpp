// libev's libc calls. The build renames them in libev's object file from `name` to `bide_ev_name` (lib/io/libev.sh), so
// each of these has the contract of the libc function of that name.
//
// Why: the program may have its own `epoll_wait` (ours, the symbol door); errno belongs to the fiber; malloc may be
// what the fiber is inside of; and libev aborts on a descriptor closed behind its back (an assert in epoll_modify),
// where a runtime must go on.
#include "lib/io/libev_seam.hpp"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/utsname.h>

#include <algorithm>

#include "lib/base/arena.hpp"
#include "lib/base/assert.hpp"
#include "lib/base/clock.hpp"
#include "lib/context/thread_pointer.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/sys/features.hpp"
#include "lib/sys/raw.hpp"

using bide::io::seam;

namespace {

#ifdef BIDE_PRELOAD
#define ev_errno (bide::context::this_block().ev_errno)
#else
constinit thread_local int ev_errno __attribute__((tls_model("initial-exec"))) = 0;
#endif

long answer(long result) noexcept {
  if (!bide::sys::failed(result)) return result;
  ev_errno = static_cast<int>(-result);
  return -1;
}

// libev asked to wait: for as long as the worker wants, whatever libev made of it.
timespec time_left() noexcept {
  return bide::base::to_timespec(std::max<std::int64_t>(0, seam::until() - bide::base::kernel_now()));
}

bool waits_for_ever() noexcept { return seam::until() == bide::base::never; }

}  // namespace

namespace bide::io {
int seam::error() noexcept {
  switch (ev_errno) {
    case EMFILE: case ENFILE: case ENOMEM: return -ev_errno;
    default: return -EINVAL;
  }
}
}  // namespace bide::io

extern "C" {

int* bide_ev___errno_location() { return &ev_errno; }

int bide_ev_epoll_create1(int flags) {
  const long made = bide::sys::raw(SYS_epoll_create1, flags);
  // Out of the way of the program's numbers, and safe from a program that closes them all.
  const int own = made < 0 ? static_cast<int>(made) : bide::io::adopt_own_fd(static_cast<int>(made));
  if (own >= 0) seam::polls_with(own);
  return static_cast<int>(answer(own));
}
int bide_ev_epoll_create(int) { return bide_ev_epoll_create1(0); }

int bide_ev_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  if (event && (event->events & EPOLLIN) && seam::wants_urgent(fd)) event->events |= EPOLLPRI;
  const long result = bide::sys::raw(SYS_epoll_ctl, epoll, operation, fd, event);
  switch (result) {
    case 0: case -ENOENT: case -EEXIST: case -EPERM: return static_cast<int>(answer(result));
    default:
      // Anything else would make libev abort or stop all of the descriptor's watchers.
      seam::refused(fd, static_cast<int>(result));
      return 0;
  }
}

static int told(long result, epoll_event* events, int room) noexcept {
  if (result > 1 && bide::base::shown_time()) [[unlikely]] {
    // In what order they became so is nobody's to know. libev has the descriptor in the lower half.
    std::sort(events, events + result,
              [](const epoll_event& a, const epoll_event& b) { return a.data.u32 < b.data.u32; });
  }
  seam::looked();
  // Where there was no room for all, what else a waiter's descriptors are is not known.
  const bool all = result < room;
  for (long i = 0; i < result; ++i) {
    if (all) seam::saw(static_cast<int>(events[i].data.u32), events[i].events);
    if (events[i].events & EPOLLPRI) events[i].events |= EPOLLIN;
  }
  return static_cast<int>(answer(result));
}

int bide_ev_epoll_wait(int epoll, epoll_event* events, int room, int timeout_ms) {
  if (timeout_ms && !waits_for_ever()) {
    const timespec left = time_left();
    if (bide::sys::features().epoll_pwait2) {
      const long result = bide::sys::raw(SYS_epoll_pwait2, epoll, events, room, &left, nullptr, 0);
      // EPERM: a sandbox older than the call.
      if (result != -ENOSYS && result != -EPERM) return told(result, events, room);
      bide::sys::features().epoll_pwait2 = false;
    }
    // Up, never down: a deadline is not early.
    timeout_ms = static_cast<int>(std::min<long>(left.tv_sec, 1'000'000) * 1000 + (left.tv_nsec + 999'999) / 1'000'000);
  } else if (timeout_ms) {
    timeout_ms = -1;
  }
  return told(bide::sys::raw(SYS_epoll_pwait, epoll, events, room, timeout_ms, nullptr, 0), events, room);
}

int bide_ev_poll(pollfd* fds, nfds_t count, int timeout_ms) {
  timespec left = timeout_ms && !waits_for_ever() ? time_left() : timespec{};
  const bool forever = timeout_ms && waits_for_ever();
  const long found = bide::sys::raw(SYS_ppoll, fds, count, forever ? nullptr : &left, nullptr, 0);
  // One that was closed behind every door: of this, too, libev would make an assertion.
  long seen = 0, invalid = 0;
  for (pollfd* p = fds; seen < found; ++p) {
    seen += p->revents != 0;
    if (!(p->revents & POLLNVAL)) continue;
    seam::refused(p->fd, -EBADF);
    p->revents = 0;
    ++invalid;
  }
  return static_cast<int>(answer(found - invalid));
}

int bide_ev_select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
  const bool wait = !timeout || timeout->tv_sec || timeout->tv_usec;
  timespec left = wait && !waits_for_ever() ? time_left() : timespec{};
  const bool forever = wait && waits_for_ever();
  return static_cast<int>(
      answer(bide::sys::raw(SYS_pselect6, count, in, out, except, forever ? nullptr : &left, nullptr)));
}

ssize_t bide_ev_read(int fd, void* to, size_t size) { return answer(bide::sys::raw(SYS_read, fd, to, size)); }
ssize_t bide_ev_write(int fd, const void* from, size_t size) {
  return answer(bide::sys::raw(SYS_write, fd, from, size));
}
// Asked as a loop is made: in the child of a preloaded program's fork each would trap.
uid_t bide_ev_getuid() { return static_cast<uid_t>(bide::sys::raw(SYS_getuid)); }
uid_t bide_ev_geteuid() { return static_cast<uid_t>(bide::sys::raw(SYS_geteuid)); }
gid_t bide_ev_getgid() { return static_cast<gid_t>(bide::sys::raw(SYS_getgid)); }
gid_t bide_ev_getegid() { return static_cast<gid_t>(bide::sys::raw(SYS_getegid)); }
int bide_ev_uname(utsname* to) { return static_cast<int>(answer(bide::sys::raw(SYS_uname, to))); }

int bide_ev_close(int fd) {
  bide::io::close_own_fd(fd);
  return 0;
}
int bide_ev_fcntl(int fd, int command, ...) {
  va_list rest;
  va_start(rest, command);
  const long argument = va_arg(rest, long);
  va_end(rest);
  return static_cast<int>(answer(bide::sys::raw(SYS_fcntl, fd, command, argument)));
}

void* bide_ev_malloc(size_t size) { return bide::base::arena_allocate(size); }
void* bide_ev_realloc(void* block, size_t size) { return bide::base::arena_resize(block, size); }
void bide_ev_free(void* block) { bide::base::arena_free(block); }

void bide_ev___assert_fail(const char* condition, const char* file, unsigned line, const char*) {
  bide::base::broken(condition, file, static_cast<int>(line));
}
void bide_ev_perror(const char* what) { bide::base::broken(what, "libev", ev_errno); }
int bide_ev___fprintf_chk(FILE*, int, const char* format, ...) { bide::base::broken(format, "libev", ev_errno); }
FILE* bide_ev_stderr = nullptr;

}  // extern "C"
