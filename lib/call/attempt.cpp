#include "lib/call/attempt.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "lib/io/offload.hpp"
#ifdef BIDE_PRELOAD
#include "asm/trap.h"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#endif

namespace bide::call {

observer attempt_observer = nullptr;

namespace {

std::int64_t ask_timeout(int fd, int option) noexcept {
  timeval t{};
  socklen_t size = sizeof t;
  if (sys::raw(SYS_getsockopt, fd, SOL_SOCKET, option, &t, &size) != 0) return base::never;
  if (t.tv_sec == 0 && t.tv_usec == 0) return base::never;  // socket(7): zero means none
  if (t.tv_sec > base::never / base::second - 1) return base::never;
  return t.tv_sec * base::second + t.tv_usec * 1000;
}

bool is_socket(io::fd_kind k) noexcept {
  return k == io::fd_kind::stream_socket || k == io::fd_kind::message_socket;
}

}  // namespace

after_signal signal_seen(bool under_timeout) noexcept {
  core::fiber* me = core::this_fiber();
  if (!me || !me->interrupted) return after_signal::go_on;
  me->interrupted = false;
#ifdef BIDE_PRELOAD
  // The handlers run once the call is left; serve() then makes it anew or not.
  static_cast<core::thread*>(me)->restartable = !under_timeout;
  return after_signal::report;
#endif
  return under_timeout || !me->interrupt_restarts ? after_signal::report : after_signal::go_on;
}

io::fd_kind classify(int fd) noexcept {
  struct stat s;
  if (sys::raw(SYS_fstat, fd, &s) != 0) return io::fd_kind::unknown;
  switch (s.st_mode & S_IFMT) {
    case S_IFSOCK: {
      int type = 0;
      socklen_t size = sizeof type;
      sys::raw(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &size);
      return type == SOCK_STREAM ? io::fd_kind::stream_socket : io::fd_kind::message_socket;
    }
    case S_IFIFO: return io::fd_kind::fifo;
    case S_IFCHR: return io::fd_kind::terminal;
    case 0: return io::fd_kind::counter;
    default: return io::fd_kind::file;
  }
}

fd_settings fd_call::settings() noexcept {
  const bool reads = want_ == readiness::readable;
  const bool remember = facts_ && facts_->is_sole();
  const auto flagged_now = [this] {
    const long flags = sys::raw(SYS_fcntl, fd_, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK);
  };
  if (remember && facts_->asked.load(std::memory_order_relaxed)) {
    // Where something may have happened unseen, only "it may wait" is trusted: if that is no longer so, look_again() finds out.
    const bool flagged = facts_->nonblocking.load(std::memory_order_relaxed) && (doors_see_all || flagged_now());
    if (!doors_see_all) facts_->nonblocking.store(flagged, std::memory_order_relaxed);
    return {flagged, (reads ? facts_->receive_timeout : facts_->send_timeout).load(std::memory_order_relaxed)};
  }
  const bool nonblocking = flagged_now();
  if (kind() == io::fd_kind::unknown) set_kind(classify(fd_));
  const bool socket = is_socket(kind());
  if (!remember) return {nonblocking, socket ? ask_timeout(fd_, reads ? SO_RCVTIMEO : SO_SNDTIMEO) : base::never};

  const std::int64_t receive = socket ? ask_timeout(fd_, SO_RCVTIMEO) : base::never;
  const std::int64_t send = socket ? ask_timeout(fd_, SO_SNDTIMEO) : base::never;
  facts_->nonblocking.store(nonblocking, std::memory_order_relaxed);
  facts_->receive_timeout.store(receive, std::memory_order_relaxed);
  facts_->send_timeout.store(send, std::memory_order_relaxed);
  facts_->asked.store(true, std::memory_order_relaxed);
  return {nonblocking, reads ? receive : send};
}

std::int64_t fd_call::deadline() noexcept {
  if (!begun_) {
    begun_ = true;
    began_ = base::now();
    const std::int64_t timeout = settings().timeout;
    until_ = timeout == base::never ? base::never : base::after(began_, timeout);
  }
  return until_;
}

bool fd_call::look_again() noexcept {
  looked_again_ = true;
  reactor().renew(fd_);
  if (facts_) facts_->asked.store(false, std::memory_order_relaxed);
  set_kind(classify(fd_) == io::fd_kind::fifo ? kind() : classify(fd_));
  const fd_settings now = settings();
  until_ = now.timeout == base::never ? base::never : base::after(began_, now.timeout);
  return !now.nonblocking;
}

void fd_call::correct_kind(io::fd_kind k) noexcept {
  if (kind() != io::fd_kind::unknown) {
    // Another took the number over where no door saw it.
    facts_->asked.store(false, std::memory_order_relaxed);
    facts_->drained.store(false, std::memory_order_relaxed);
    facts_->sole_since.store(0, std::memory_order_relaxed);
    reactor().renew(fd_);
  }
  set_kind(k);
}

bool fd_call::below_low_water() const noexcept {
  if (!facts_ || !facts_->low_water.load(std::memory_order_relaxed)) return false;
  // Counted, because not every family's poll goes by it: unix(7) sockets are readable from the first byte.
  int there = 0, least = 0;
  socklen_t size = sizeof least;
  sys::raw(SYS_ioctl, fd_, FIONREAD, &there);
  sys::raw(SYS_getsockopt, fd_, SOL_SOCKET, SO_RCVLOWAT, &least, &size);
  return there < least && !(poll_now(fd_, POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR));
}

bool fd_call::quiet() noexcept {
  if (!waits_) return false;
  if (unix_stream_ == not_asked) {
    int domain = 0;
    socklen_t size = sizeof domain;
    sys::raw(SYS_getsockopt, fd_, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    unix_stream_ = domain == AF_UNIX && kind() == io::fd_kind::stream_socket ? yes : no;
  }
  return unix_stream_ == yes;
}

bool fd_call::at_end() const noexcept {
  return waits_ && want_ == readiness::readable && kind() == io::fd_kind::message_socket &&
         (poll_now(fd_, POLLRDHUP) & POLLRDHUP);
}

// Some waits have no event: a datagram for a full unix(7) socket one is not connected to. Looks again after a while.
long fd_call::back_off(std::int64_t until) noexcept {
  core::waiter w(core::waiter::reach::home);
  const std::int64_t pause = std::int64_t{500'000} << std::min(lies_, 5u);
  const std::int64_t again = std::min(until, base::after(base::now(), pause));
  const wait_result how = core::park(w, {name_, fd_, true}, again, core::cancel_point::yes);
  if (how == wait_result::cancelled) return -ECANCELED;
  if (how == wait_result::timed_out) return -ETIMEDOUT;
  return how == wait_result::expired && again == until ? -ETIME : 0;
}

long fd_call::wait(moved so_far) noexcept {
  if (!begun_ && settings().nonblocking) return -EAGAIN;
  const std::int64_t until = deadline();
  // Woken for nothing more than once: by another who was quicker, or is the event a lie?
  const bool lie = waits_ > 1 && poll_now(fd_, want_ == readiness::readable ? POLLIN : POLLOUT);
  lies_ = lie ? lies_ + 1 : 0;
  if (waits_ > 2 && !lie) reactor().ignore_urgent(fd_);
  const bool sure = doors_see_all && facts_ && facts_->is_sole();
  const std::int64_t again = looked_again_ || sure ? base::never : trusted_until();
  const bool trusting = again < until;
  const long end = lies_ > 1 ? back_off(until) : reactor().wait(fd_, want_, name_, trusting ? again : until);
  if (end == -ETIME && trusting) return look_again() ? 0 : -EAGAIN;
  if (end == 0) ++waits_;
  const after_signal signal = signal_seen(until != base::never || so_far == moved::something);
  if (signal == after_signal::report && end != -ECANCELED) return -EINTR;  // a cancel is told once, so now
  if (end == -ETIME) return -EAGAIN;  // socket(7): a timeout is reported as EAGAIN
  if (end == 0 && !same_owner()) return -EBADF;
  return end;
}

long await_ready(int fd, readiness which, const char* name, std::int64_t until, bool under_timeout) noexcept {
  io::reactor& reactor = *core::this_worker()->reactor;
  const std::int64_t again = trusted_until();
  const long end = reactor.wait(fd, which, name, std::min(again, until));
  if (signal_seen(under_timeout) == after_signal::report && end != -ECANCELED) return -EINTR;
  if (end != -ETIME || until <= again) return end;
  reactor.renew(fd);
  return 0;
}

long read_time(const void* at, std::int64_t& length) noexcept {
  timespec t;
  if (const long error = copy_in(&t, at, sizeof t)) return error;
  if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= base::second) return -EINVAL;
  length = t.tv_sec > base::never / base::second - 1 ? base::never : t.tv_sec * base::second + t.tv_nsec;
  return 0;
}

std::int64_t from_realtime(std::int64_t when) noexcept {
  if (when == base::never) return when;
  return base::after(base::now(), when - base::time_of(CLOCK_REALTIME));
}

void not_restarted() noexcept {
#ifdef BIDE_PRELOAD
  core::this_thread()->restartable = false;
#endif
}

short poll_now(int fd, short events) noexcept {
  pollfd p{fd, events, 0};
  return sys::raw(SYS_poll, &p, 1, 0) > 0 ? p.revents : short{0};
}

#ifdef BIDE_PRELOAD
long copy_in(void* to, const void* from, std::size_t size) noexcept { return bide_copy(to, from, size); }
long copy_out(void* to, const void* from, std::size_t size) noexcept { return bide_copy(to, from, size); }
#else
// process_vm_readv(2) on ourselves says EFAULT where a plain load would be a SIGSEGV. Where a sandbox forbids it, the
// pointer is trusted.
long copy_in(void* to, const void* from, std::size_t size) noexcept {
  if (!size) return 0;
  const iovec local{to, size}, remote{const_cast<void*>(from), size};
  const long n = sys::raw(SYS_process_vm_readv, sys::raw(SYS_getpid), &local, 1, &remote, 1, 0);
  if (n == static_cast<long>(size)) return 0;
  if (n >= 0 || n == -EFAULT) return -EFAULT;
  std::memcpy(to, from, size);
  return 0;
}

long copy_out(void* to, const void* from, std::size_t size) noexcept {
  if (!size) return 0;
  const iovec local{const_cast<void*>(from), size}, remote{to, size};
  const long n = sys::raw(SYS_process_vm_writev, sys::raw(SYS_getpid), &local, 1, &remote, 1, 0);
  if (n == static_cast<long>(size)) return 0;
  if (n >= 0 || n == -EFAULT) return -EFAULT;
  std::memcpy(to, from, size);
  return 0;
}
#endif

long offloaded(waits_for whom, const char* name, int fd, restarts how, long nr, long a, long b, long c, long d, long e,
               long f) noexcept {
#ifdef BIDE_PRELOAD
  (void)whom, (void)name, (void)fd, (void)how;
  for (;;) {
    const long answer = core::call_kernel(nr, a, b, c, d, e, f, core::waiting::surely);
    if (answer != -EINTR) return answer;
    // Or was it for nothing?
    core::route_signals(*core::this_worker());
    if (core::has_deliverable(*core::this_thread())) return answer;
  }
#else
  for (;;) {
    const auto in_kernel = [=] { return attempt(nr, a, b, c, d, e, f); };
    io::offload_call call;
    call.limit = whom == waits_for::machine ? io::offload_limit::counts : io::offload_limit::beyond;
    call.make = [](void* p) { return (*static_cast<decltype(in_kernel)*>(p))(); };
    call.of = const_cast<void*>(static_cast<const void*>(&in_kernel));
    const long answer = core::this_worker()->reactor->offload(fd, call, name);
    const after_signal signal = signal_seen(how == restarts::no);
    if (answer != -EINTR || signal == after_signal::report) return answer;
    // signal(7): what no handler's flags restart is ended by a stop of the process as well, and would begin its limit anew.
    if (how == restarts::no && !call.interrupted) return answer;
  }
#endif
}

}  // namespace bide::call
