// accept and connect: the two that can't be told not to wait but by O_NONBLOCK, which is not ours to set.
//
// They are put to the kernel as requests (lib/io/ring.hpp). Where the kernel takes none, accept waits for readiness and
// then, if no other worker, number or process can be accepting on the same description, accepts; everything else waits
// on an offload thread, where what ends a wait ends it too. A plain thread that accepts on the same number may be
// quicker: then the worker waits for the next connection.
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>

#include "lib/base/text.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/descriptor.hpp"
#include "lib/call/families.hpp"
#include "lib/call/partial.hpp"
#include "lib/sched/runtime.hpp"

namespace bide::call {
namespace {

void say_degraded() noexcept {
  static std::atomic<bool> said{false};
  if (said.exchange(true)) return;
  base::text t;
  (t << "bide: no io_uring here: connect() and accept() on shared sockets wait on kernel threads, connect() on at most "
        "options::offload_threads at a time\n").to_stderr();
}

// The real call as a request, which waits; tests see it as an attempt.
long requested(fd_call& c, readiness which, long nr, io::ring_op& op, std::int64_t until) noexcept {
  const long a[6] = {c.fd(), sys::word(op.address), sys::word(op.offset), sys::word(op.flags)};
  long answer;
  if (attempt_observer && attempt_observer(nr, a, answer)) [[unlikely]] return answer;
  return c.reactor().request(c.fd(), which, op, c.name(), until);
}

long accept_without_requests(fd_call& c, long fd, long address, long size, long flags) noexcept {
  int listens = 0;
  socklen_t length = sizeof listens;
  const bool waits = sys::raw(SYS_getsockopt, fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
  // What can't accept says so at once.
  if (!waits || (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))) return attempt(SYS_accept4, fd, address, size, flags);
  for (;;) {
    if (!poll_now(c.fd(), POLLIN)) {
      if (const long end = c.wait()) return end;
      continue;
    }
    // Another worker may be quicker as well: then this one would wait in the kernel.
    if (c.facts() && c.facts()->is_sole() && core::this_worker()->runtime->count == 1) {
      const long fresh = attempt(SYS_accept4, fd, address, size, flags);
      if (fresh != -EAGAIN) return fresh;
      continue;
    }
    say_degraded();
    return offloaded(c, SYS_accept4, fd, address, size, flags);
  }
}

long accept_one(long fd, long address, long size, long flags) noexcept {
  fd_call c(static_cast<int>(fd), readiness::readable, "accept");
  if (c.settings().nonblocking) return attempt(SYS_accept4, fd, address, size, flags);
  for (;;) {
    io::ring_op op;
    op.opcode = IORING_OP_ACCEPT;
    op.address = reinterpret_cast<void*>(address);
    op.offset = static_cast<std::uint64_t>(size);
    op.flags = static_cast<std::uint32_t>(flags);
    const std::int64_t until = c.deadline();
    long result = requested(c, readiness::readable, SYS_accept4, op, until);
    if (result == -ENOSYS) return accept_without_requests(c, fd, address, size, flags);
    if (result == -ETIME) result = -EAGAIN;  // socket(7), SO_RCVTIMEO
    const after_signal signal = signal_seen(until != base::never);
    if (result != -EINTR) return result;
    // Woken with nothing accepted: a signal handler ran.
    if (signal == after_signal::report) return -EINTR;
  }
}

// A handshake goes on by itself: connect(2), EINTR. Waits for its end.
long finish_connecting(fd_call& c, long address, long size) noexcept {
  while (!poll_now(c.fd(), POLLOUT)) {
    if (const long end = c.wait()) return end;
  }
  // It has ended, so this doesn't wait; and the socket learns of it.
  return attempt(SYS_connect, c.fd(), address, size);
}

long accept_and_note(long fd, long address, long size, long flags) noexcept {
  const long fresh = accept_one(fd, address, size, flags);
  if (fresh < 0) return fresh;
  // It inherits the listener's timeouts, of which there are none mostly, and not its O_NONBLOCK: accept(2).
  const io::fd_facts* l = io::facts_if_any(static_cast<int>(fd));
  const bool known = l && l->is_sole() && l->asked.load(std::memory_order_relaxed) &&
                     l->kind.load(std::memory_order_relaxed) == io::fd_kind::stream_socket &&
                     l->receive_timeout.load(std::memory_order_relaxed) == base::never &&
                     l->send_timeout.load(std::memory_order_relaxed) == base::never;
  if (known) {
    made_socket(static_cast<int>(fresh), io::fd_kind::stream_socket, flags & SOCK_NONBLOCK);
  } else {
    made(static_cast<int>(fresh));
  }
  return fresh;
}

}  // namespace

long accept_call(long fd, long address, long size, long, long, long) { return accept_and_note(fd, address, size, 0); }

long accept4_call(long fd, long address, long size, long flags, long, long) {
  return accept_and_note(fd, address, size, flags);
}

long connect_call(long fd, long address, long size, long, long, long) {
  fd_call c(static_cast<int>(fd), readiness::writable, "connect");
  if (c.settings().nonblocking) return attempt(SYS_connect, fd, address, size);
  const std::int64_t until = c.deadline();
  for (;;) {
    io::ring_op op;
    op.opcode = IORING_OP_CONNECT;
    op.address = reinterpret_cast<void*>(address);
    op.offset = static_cast<std::uint64_t>(size);
    const long result = requested(c, readiness::writable, SYS_connect, op, until);
    const after_signal signal = signal_seen(until != base::never);
    if (result == -EINTR && signal == after_signal::go_on) continue;
    if (result == -ENOSYS) {
      say_degraded();
      // For a network: thousands may do, and none of them has to wait for one of these.
      return offloaded(waits_for::machine, c, SYS_connect, fd, address, size);
    }
    if (result == -EALREADY) {
      // Begun before, by another call or before a signal: waits for the end of that, as long as the timeout lets it.
      const long end = finish_connecting(c, address, size);
      return end == -EAGAIN ? -EALREADY : end;
    }
    if (result != -ETIME) return result;
    // The handshake goes on without us; unix(7) sockets have none.
    sa_family_t family = AF_UNSPEC;
    copy_in(&family, reinterpret_cast<void*>(address), sizeof family);
    return family == AF_UNIX ? -EAGAIN : -EINPROGRESS;
  }
}

}  // namespace bide::call
