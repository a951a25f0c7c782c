// close, dup and kin, and the calls that make descriptors or change what is remembered of them.
#include "lib/call/descriptor.hpp"


#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/runtime.hpp"

namespace bide::call {
namespace {

// Has each of those workers do something about a number; waits until they have.
void at_watchers(std::uint64_t workers, int fd, void (*what)(core::worker_core&, int)) noexcept {
  for (; workers; workers &= workers - 1) {
    core::worker* w = core::worker_at(static_cast<unsigned>(__builtin_ctzll(workers)));
    if (!w) continue;
    struct {
      void (*what)(core::worker_core&, int);
      int fd;
    } errand{what, fd};
    core::run_at(*w, [](core::worker_core& there, void* p) noexcept {
      const auto& mine = *static_cast<decltype(errand)*>(p);
      mine.what(there, mine.fd);
    }, &errand);
  }
}

void doubled(int from, int to) noexcept {
  io::fd_shared(from);
  if (io::fd_facts* f = io::facts_if_any(to)) io::fd_forget(*f);
}

// Its last owner may have been closed where no door saw it.
void gone(int fd) noexcept {
  io::fd_facts* f = io::facts_if_any(fd);
  if (f && f->watched_by.load(std::memory_order_relaxed)) leaving(fd);
}

long made_pair(long answer, long at) noexcept {
  if (answer != 0) return answer;
  const int* fds = reinterpret_cast<const int*>(at);
  made(fds[0]);
  made(fds[1]);
  return 0;
}

io::fd_kind kind_of(long socket_type) noexcept {
  constexpr long flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
  return (socket_type & ~flags) == SOCK_STREAM ? io::fd_kind::stream_socket : io::fd_kind::message_socket;
}

long dup_to(long nr, long from, long to, long flags) noexcept {
  if (from == to || sys::raw(SYS_fcntl, from, F_GETFD) < 0) return attempt(nr, from, to, flags);
  if (io::is_own_fd(static_cast<int>(to))) return -EBUSY;  // dup(2): as in a race with another open
  if (to >= 0) leaving(static_cast<int>(to));
  const long answer = attempt(nr, from, to, flags);
  if (answer >= 0) {
    doubled(static_cast<int>(from), static_cast<int>(to));
  }
  return answer;
}

}  // namespace

void leaving(int fd) noexcept {
  io::fd_facts* f = io::facts_if_any(fd);
  if (!f) return;
  const bool sole = f->is_sole();
  io::fd_forget(*f);
  if (!f->watched_by.load(std::memory_order_acquire)) return;
  using held = io::reactor::held;
  const auto forget = [](core::worker_core& there, int which) { there.reactor->forget(which); };
  const auto forget_sole = [](core::worker_core& there, int which) { there.reactor->forget(which, held::here_alone); };
  at_watchers(f->watched_by.exchange(0, std::memory_order_acq_rel), fd, sole ? +forget_sole : +forget);
}

void made(int fd) noexcept {
  gone(fd);
  io::fd_made(fd);
}

void made_socket(int fd, io::fd_kind kind, bool nonblocking) noexcept {
  made(fd);
  io::fd_facts* f = io::facts(fd);
  if (!f) return;
  f->kind.store(kind, std::memory_order_relaxed);
  f->nonblocking.store(nonblocking, std::memory_order_relaxed);
  f->receive_timeout.store(base::never, std::memory_order_relaxed);
  f->send_timeout.store(base::never, std::memory_order_relaxed);
  f->asked.store(true, std::memory_order_relaxed);
}

long close_call(long fd, long, long, long, long, long) {
  const auto number = static_cast<int>(fd);
  if (io::is_own_fd(number)) return -EBADF;
  // Once the kernel has closed it the number may have a new owner at once, so nothing is done to it afterwards.
  leaving(number);
  return attempt(SYS_close, fd);
}

long close_range_call(long first, long last, long flags, long, long, long) {
  const auto low = static_cast<std::uint32_t>(first), high = static_cast<std::uint32_t>(last);
  if (low > high || (flags & CLOSE_RANGE_CLOEXEC)) return attempt(SYS_close_range, first, last, flags);
  // As the kernel does it, but in pieces around the runtime's own descriptors.
  constexpr std::uint32_t most = 1u << 31;
  std::uint32_t from = low;
  long answer = 0;
  const auto close_up_to = [&](std::uint32_t end) {
    if (from < end && answer == 0) answer = attempt(SYS_close_range, from, end - 1, flags);
  };
  for (std::uint32_t fd = low; fd < std::min(high, most - 1) + 1;) {
    const io::fd_facts* f = io::facts_if_any(static_cast<int>(fd));
    if (!f) {
      fd = (fd | 4095) + 1;  // nothing was noted of any number in this block
      continue;
    }
    if (f->ours.load(std::memory_order_relaxed)) {
      close_up_to(fd);
      from = fd + 1;
    } else {
      leaving(static_cast<int>(fd));
    }
    ++fd;
  }
  if (from <= high && answer == 0) answer = attempt(SYS_close_range, from, high, flags);
  return answer;
}

long dup_call(long from, long, long, long, long, long) {
  const long answer = attempt(SYS_dup, from);
  if (answer >= 0) {
    gone(static_cast<int>(answer));
    doubled(static_cast<int>(from), static_cast<int>(answer));
  }
  return answer;
}

long dup2_call(long from, long to, long, long, long, long) { return dup_to(SYS_dup2, from, to, 0); }
long dup3_call(long from, long to, long flags, long, long, long) { return dup_to(SYS_dup3, from, to, flags); }

long fcntl_call(long fd, long command, long argument, long, long, long) {
  switch (command) {
    case F_SETLKW: case F_OFD_SETLKW: {
      const long now = attempt(SYS_fcntl, fd, command == F_SETLKW ? F_SETLK : F_OFD_SETLK, argument);
      if (now != -EAGAIN && now != -EACCES) return now;
      return offloaded("a file lock", static_cast<int>(fd), restarts::yes, SYS_fcntl, fd, command, argument);
    }
    case F_DUPFD: case F_DUPFD_CLOEXEC: {
      const long answer = attempt(SYS_fcntl, fd, command, argument);
      if (answer >= 0) {
        gone(static_cast<int>(answer));
        doubled(static_cast<int>(fd), static_cast<int>(answer));
      }
      return answer;
    }
    case F_SETFL:
      if (io::fd_facts* f = io::facts_if_any(static_cast<int>(fd))) f->asked.store(false, std::memory_order_relaxed);
      [[fallthrough]];
    default: return attempt(SYS_fcntl, fd, command, argument);
  }
}

namespace {

// ioctl_tty(2): what waits until the output is out. A break lasts a quarter of a second.
bool drains(long request) noexcept {
  switch (request) {
    case TCSBRK: case TCSBRKP: case TCSETSW: case TCSETSF: case TCSETAW: case TCSETAF: return true;
    default: return false;
  }
}

bool output_waits(int fd) noexcept {
  int left = 0;
  return sys::raw(SYS_ioctl, fd, TIOCOUTQ, &left) == 0 && left > 0;
}

}  // namespace

long ioctl_call(long fd, long request, long argument, long, long, long) {
  const bool breaks = (request == TCSBRK && !argument) || request == TCSBRKP;
  if (drains(request) && (breaks || output_waits(static_cast<int>(fd))))
    return offloaded("a terminal's output", static_cast<int>(fd), restarts::yes, SYS_ioctl, fd, request, argument);
  const long answer = attempt(SYS_ioctl, fd, request, argument);
  if (request == FIONBIO) {
    if (io::fd_facts* f = io::facts_if_any(static_cast<int>(fd))) f->asked.store(false, std::memory_order_relaxed);
  }
  return answer;
}

long setsockopt_call(long fd, long level, long option, long value, long size, long) {
  const long answer = attempt(SYS_setsockopt, fd, level, option, value, size);
  if (level != SOL_SOCKET) return answer;
  switch (option) {
    case SO_RCVTIMEO_OLD: case SO_RCVTIMEO_NEW: case SO_SNDTIMEO_OLD: case SO_SNDTIMEO_NEW:
      if (io::fd_facts* f = io::facts_if_any(static_cast<int>(fd))) f->asked.store(false, std::memory_order_relaxed);
      break;
    case SO_RCVLOWAT:
      if (io::fd_facts* f = io::facts(static_cast<int>(fd)); f && answer == 0) f->low_water.store(true, std::memory_order_relaxed);
      break;
    default: break;
  }
  return answer;
}

// A sender who waits for room learns that its own side is shut down by no event; those who wait look again.
long shutdown_call(long fd, long how, long, long, long, long) {
  const long answer = attempt(SYS_shutdown, fd, how);
  const auto number = static_cast<int>(fd);
  const io::fd_facts* f = io::facts_if_any(number);
  if (answer == 0 && f) {
    at_watchers(f->watched_by.load(std::memory_order_acquire), number,
                [](core::worker_core& there, int which) { there.reactor->nudge(which); });
  }
  return answer;
}

long socket_call(long family, long type, long protocol, long, long, long) {
  const long fd = attempt(SYS_socket, family, type, protocol);
  if (fd >= 0) made_socket(static_cast<int>(fd), kind_of(type), type & SOCK_NONBLOCK);
  return fd;
}

long socketpair_call(long family, long type, long protocol, long fds, long, long) {
  const long answer = attempt(SYS_socketpair, family, type, protocol, fds);
  if (answer != 0) return answer;
  const int* both = reinterpret_cast<const int*>(fds);
  for (int i = 0; i < 2; ++i) made_socket(both[i], kind_of(type), type & SOCK_NONBLOCK);
  return 0;
}
long pipe_call(long fds, long, long, long, long, long) { return made_pair(attempt(SYS_pipe, fds), fds); }
long pipe2_call(long fds, long flags, long, long, long, long) { return made_pair(attempt(SYS_pipe2, fds, flags), fds); }

}  // namespace bide::call
