// recvmsg, sendmsg and their plural forms.
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/partial.hpp"

namespace bide::call {
namespace {

constexpr long never_waits = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB;

template <class Visit>
void each_passed_fd(const msghdr& m, Visit visit) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(const_cast<msghdr*>(&m), c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      visit(fd);
    }
  }
}

// Descriptors that came in a message have other holders, and their numbers new owners.
void note_received(const msghdr& m) noexcept {
  if (!m.msg_control || !m.msg_controllen) return;
  each_passed_fd(m, [](int fd) {
    if (io::fd_facts* f = io::facts_if_any(fd)) io::fd_forget(*f);
  });
}

void note_sent(const msghdr& m) noexcept {
  if (!m.msg_control || !m.msg_controllen) return;
  each_passed_fd(m, [](int fd) { io::fd_shared(fd); });
}

// Whether MSG_WAITALL has each message wait until it is full: on streams.
bool fills_each(fd_call& c, long flags) noexcept {
  if (!(flags & MSG_WAITALL)) return false;
  if (c.kind() == io::fd_kind::unknown) c.set_kind(classify(c.fd()));
  return c.kind() == io::fd_kind::stream_socket && !c.settings().nonblocking;
}

// MSG_WAITALL on a stream: goes on until the vector is full, or descriptors came with a part.
long receive_all(fd_call& c, msghdr* to, const msghdr& asked, long flags) noexcept {
  partial rest(asked.msg_iov, static_cast<long>(asked.msg_iovlen));
  std::size_t size = 0;
  for (std::size_t i = 0; i < asked.msg_iovlen; ++i) size += asked.msg_iov[i].iov_len;
  return read_all(c, size, [&](std::size_t done, bool& last) -> long {
    msghdr now = asked;
    if (done > rest.done() && !rest.advance(done - rest.done())) return 0;
    now.msg_iov = const_cast<iovec*>(rest.now());
    now.msg_iovlen = static_cast<std::size_t>(rest.count());
    const long n = attempt(SYS_recvmsg, c.fd(), &now, flags | MSG_DONTWAIT);
    if (n < 0) return n;
    last = now.msg_controllen != 0 || (now.msg_flags & MSG_CTRUNC);
    if (!done || last) {
      to->msg_namelen = now.msg_namelen;
      to->msg_controllen = now.msg_controllen;
      to->msg_flags = now.msg_flags;
      note_received(now);
    }
    return n;
  });
}

long receive(int fd, msghdr* to, long flags) noexcept {
  if (flags & never_waits) return attempt(SYS_recvmsg, fd, to, flags);
  fd_call c(fd, readiness::readable, "recvmsg");
  // The kernel writes lengths back into the header: a second attempt starts from the caller's.
  msghdr asked;
  if (const long error = copy_in(&asked, to, sizeof asked)) return error;
  if (fills_each(c, flags)) {
    if (flags & MSG_PEEK) return offloaded(c, SYS_recvmsg, fd, to, flags);
    if (asked.msg_iovlen > IOV_MAX) return -EMSGSIZE;
    return receive_all(c, to, asked, flags);
  }
  if (c.park_first()) {
    if (const long end = c.wait()) return end;
  }
  const long n = until_done(c, [&] {
    return c.below_low_water() ? -long{EAGAIN} : attempt(SYS_recvmsg, fd, to, flags | MSG_DONTWAIT);
  });
  if (n >= 0) note_received(*to);
  return n;
}

long send_whole(int fd, const msghdr* from, long flags, std::size_t already) noexcept {
  fd_call c(fd, readiness::writable, "sendmsg");
  msghdr whole;
  if (const long error = copy_in(&whole, from, sizeof whole)) return error;
  if (whole.msg_iovlen > IOV_MAX) return -EMSGSIZE;
  partial rest(whole.msg_iov, static_cast<long>(whole.msg_iovlen));
  if (already && !rest.advance(already)) return static_cast<long>(already);
  bool passed = already != 0;
  return write_all(c, rest, [&](const iovec* now, long left) {
    msghdr m = whole;
    m.msg_iov = const_cast<iovec*>(now);
    m.msg_iovlen = static_cast<std::size_t>(left);
    // What goes beside the bytes goes once.
    if (passed) m.msg_control = nullptr, m.msg_controllen = 0;
    const long n = attempt(SYS_sendmsg, fd, &m, flags | MSG_DONTWAIT | (c.quiet() ? MSG_NOSIGNAL : 0));
    if (n >= 0 && !passed) {
      passed = true;
      note_sent(m);
    }
    return n;
  });
}

}  // namespace

long recvmsg_call(long fd, long to, long flags, long, long, long) {
  return receive(static_cast<int>(fd), reinterpret_cast<msghdr*>(to), flags);
}

long sendmsg_call(long fd, long from, long flags, long, long, long) {
  const auto* m = reinterpret_cast<const msghdr*>(from);
  if (flags & (MSG_DONTWAIT | MSG_OOB)) {
    const long n = attempt(SYS_sendmsg, fd, from, flags);
    if (n >= 0) note_sent(*m);
    return n;
  }
  return send_whole(static_cast<int>(fd), m, flags, 0);
}

// recvmmsg(2): the timeout is looked at after each message only, so it never ends a wait that has begun; an error after
// the first message is for the next call.
long recvmmsg_call(long fd, long list, long count, long flags, long timeout, long) {
  if ((flags & never_waits) || !count) return attempt(SYS_recvmmsg, fd, list, count, flags, timeout);
  timespec left{};
  std::int64_t until = base::never;
  if (timeout) {
    if (const long error = copy_in(&left, reinterpret_cast<void*>(timeout), sizeof left)) return error;
    if (left.tv_sec < 0 || left.tv_nsec < 0 || left.tv_nsec >= base::second) return -EINVAL;
    until = base::after(base::now(), left.tv_sec * base::second + left.tv_nsec);
  }
  fd_call c(static_cast<int>(fd), readiness::readable, "recvmmsg");
  auto* messages = reinterpret_cast<mmsghdr*>(list);
  long done = 0, end = 0;
  const bool fill = fills_each(c, flags);
  while (done < count && fill) {
    const bool waits = !done || !(flags & MSG_WAITFORONE);
    const long n = receive(static_cast<int>(fd), &messages[done].msg_hdr,
                           (flags & ~MSG_WAITFORONE) | (waits ? 0 : MSG_DONTWAIT));
    if ((end = std::min(n, 0L))) break;
    messages[done++].msg_len = static_cast<unsigned>(n);
    if (base::now() >= until || (done < count && error_waits(c))) break;
  }
  while (done < count && !fill) {
    const long n = attempt(SYS_recvmmsg, fd, messages + done, count - done, flags | MSG_DONTWAIT, nullptr);
    if (n > 0) {
      for (long i = 0; i < n; ++i) note_received(messages[done + i].msg_hdr);
      done += n;
      if ((flags & MSG_WAITFORONE) || base::now() >= until) break;
      // An error that cut the list short is the next call's.
      if (done < count && error_waits(c)) break;
      continue;
    }
    if (n != -EAGAIN) {
      end = n;
      break;
    }
    if (c.at_end()) {
      while (done < count) messages[done++].msg_len = 0;
      break;
    }
    if ((end = c.wait())) break;
  }
  if (timeout && done) {
    const std::int64_t rest = until > base::now() ? until - base::now() : 0;
    left = base::to_timespec(until == base::never ? 0 : rest);
    copy_out(reinterpret_cast<void*>(timeout), &left, sizeof left);
  }
  return as_far(done, end);
}

long sendmmsg_call(long fd, long list, long count, long flags, long, long) {
  if (flags & (MSG_DONTWAIT | MSG_OOB)) return attempt(SYS_sendmmsg, fd, list, count, flags);
  fd_call c(static_cast<int>(fd), readiness::writable, "sendmmsg");
  auto* messages = reinterpret_cast<mmsghdr*>(list);
  if (count > IOV_MAX) count = IOV_MAX;  // sendmmsg(2): UIO_MAXIOV
  long done = 0;
  while (done < count) {
    const long quiet = c.quiet() ? MSG_NOSIGNAL : 0;
    const long n = attempt(SYS_sendmmsg, fd, messages + done, count - done, flags | MSG_DONTWAIT | quiet);
    if (n > 0) {
      for (long i = 0; i < n; ++i) note_sent(messages[done + i].msg_hdr);
      // The last of a batch may have gone in part; a blocking send sends the rest.
      mmsghdr& last = messages[done + n - 1];
      std::size_t size = 0;
      for (std::size_t i = 0; i < last.msg_hdr.msg_iovlen; ++i) size += last.msg_hdr.msg_iov[i].iov_len;
      if (last.msg_len < size && !c.settings().nonblocking) {
        const long whole = send_whole(static_cast<int>(fd), &last.msg_hdr, flags, last.msg_len);
        if (whole >= 0) last.msg_len = static_cast<unsigned>(whole);
      }
      done += n;
      continue;
    }
    if (n == -EPIPE && quiet && !done) return -pending_error(static_cast<int>(fd), EPIPE);
    if (n != -EAGAIN) return done ? done : n;
    if (const long end = c.wait()) return as_far(done, end);
  }
  return done;
}

}  // namespace bide::call
