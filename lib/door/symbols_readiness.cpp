// poll, select, epoll_wait and kin, in all their spellings.
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>

#include "lib/door/door.hpp"

extern "C" [[noreturn]] void __chk_fail();

namespace {

constexpr size_t kernel_mask_size = 8;  // bytes of a signal set, as the kernel counts them

}  // namespace

#define BIDE_POLL(n) BIDE_DOOR(int, n, (pollfd * fds, nfds_t count, int timeout), (fds, count, timeout), SYS_poll)
BIDE_POLL(poll)
BIDE_POLL(__poll)

namespace {
BIDE_NAME(ppoll);
BIDE_NAME(select);
BIDE_NAME(pselect);
}  // namespace

// The kernel writes the time left into ppoll's and pselect's timeout; libc gives it a copy.
extern "C" BIDE_API int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  using namespace bide;
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(ppoll)>(ppoll_name)) return libc(fds, count, timeout, mask);
  }
  timespec copy;
  if (timeout) copy = *timeout;
  return static_cast<int>(
      door::with_errno(door::call(SYS_ppoll, fds, count, timeout ? &copy : nullptr, mask, kernel_mask_size)));
}

extern "C" BIDE_API int select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
  using namespace bide;
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(select)>(select_name)) return libc(count, in, out, except, timeout);
  }
  return static_cast<int>(door::with_errno(door::call(SYS_select, count, in, out, except, timeout)));
}

extern "C" BIDE_API int pselect(int count, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout,
                                const sigset_t* mask) {
  using namespace bide;
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(pselect)>(pselect_name))
      return libc(count, in, out, except, timeout, mask);
  }
  timespec copy;
  if (timeout) copy = *timeout;
  const struct {
    const sigset_t* mask;
    size_t size;
  } kernel_mask{mask, kernel_mask_size};
  return static_cast<int>(door::with_errno(
      door::call(SYS_pselect6, count, in, out, except, timeout ? &copy : nullptr, &kernel_mask)));
}

extern "C" BIDE_API int __select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
  return select(count, in, out, except, timeout);
}

BIDE_DOOR(int, epoll_wait, (int set, epoll_event* events, int room, int timeout), (set, events, room, timeout),
          SYS_epoll_wait)
BIDE_DOOR_WITH(int, epoll_pwait, (int set, epoll_event* events, int room, int timeout, const sigset_t* mask),
               (set, events, room, timeout, mask),
               (SYS_epoll_pwait, set, events, room, timeout, mask, kernel_mask_size))
BIDE_DOOR_WITH(int, epoll_pwait2, (int set, epoll_event* events, int room, const timespec* timeout, const sigset_t* mask),
               (set, events, room, timeout, mask),
               (SYS_epoll_pwait2, set, events, room, timeout, mask, kernel_mask_size))

extern "C" BIDE_API int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t room) {
  if (room / sizeof *fds < count) __chk_fail();
  return poll(fds, count, timeout);
}
extern "C" BIDE_API int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
                                    size_t room) {
  if (room / sizeof *fds < count) __chk_fail();
  return ppoll(fds, count, timeout, mask);
}
