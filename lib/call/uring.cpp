// io_uring_enter(2): waits for completions as for any descriptor, by the ring's readiness.
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>

#include <algorithm>

#include "lib/base/clock.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/descriptor.hpp"
#include "lib/call/families.hpp"
#ifdef BIDE_PRELOAD
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#endif

namespace bide::call {
namespace {

#ifdef BIDE_PRELOAD
// In the kernel, and again when only another thread's signal ended it. Interrupted in its wait the kernel says what was
// submitted, as if nothing had come, so what is to be submitted is submitted first.
long enter_in_kernel(long fd, long submit, long least, long flags, long argument, long size) noexcept {
  core::thread& me = *core::this_thread();
  long submitted = 0;
  if (submit && least && (flags & IORING_ENTER_GETEVENTS)) {
    submitted = attempt(SYS_io_uring_enter, fd, submit, 0, flags & ~long{IORING_ENTER_GETEVENTS}, argument, size);
    if (submitted < submit) return submitted;
    submit = 0;
  }
  for (;;) {
    const long answer = core::call_kernel(SYS_io_uring_enter, fd, submit, least, flags, argument, size);
    if (answer == -EINTR) {
      core::route_signals(*core::this_worker());
      me.restartable = false;
      if (!core::has_deliverable(me)) continue;
    }
    return submitted ? submitted : answer;
  }
}
#else
// On the worker: a ring's completions may need the very thread that made it, IORING_SETUP_SINGLE_ISSUER.
long enter_in_kernel(long fd, long submit, long least, long flags, long argument, long size) noexcept {
  return attempt(SYS_io_uring_enter, fd, submit, least, flags, argument, size);
}
#endif

// Until when it waits, by IORING_ENTER_EXT_ARG's argument or without one. Returns whether that can be kept here: a mask of its
// own is the kernel's to keep, and what can't be read is its to refuse.
bool limit_of(long flags, long argument, long size, std::int64_t& until) noexcept {
  until = base::never;
  if (!(flags & IORING_ENTER_EXT_ARG)) return !argument;
  io_uring_getevents_arg given;
  __kernel_timespec length;
  if (size != sizeof given || copy_in(&given, reinterpret_cast<void*>(argument), sizeof given)) return false;
  if (given.sigmask || given.pad) return false;
  if (!given.ts) return true;
  if (copy_in(&length, reinterpret_cast<void*>(given.ts), sizeof length) || length.tv_sec < 0 || length.tv_nsec < 0) return false;
  if (length.tv_sec < base::never / base::second - 1) until = base::after(base::now(), length.tv_sec * base::second + length.tv_nsec);
  return true;
}

}  // namespace

// A ring without IORING_SETUP_IOPOLL says by poll(2) that there are completions: io_uring_setup(2).
long io_uring_setup_call(long entries, long parameters, long, long, long, long) {
  const long fd = attempt(SYS_io_uring_setup, entries, parameters);
  if (fd < 0) return fd;
  made(static_cast<int>(fd));
  const auto* p = reinterpret_cast<const io_uring_params*>(parameters);
  if (!(p->flags & IORING_SETUP_IOPOLL)) {
    if (io::fd_facts* f = io::facts(static_cast<int>(fd))) f->kind.store(io::fd_kind::counter, std::memory_order_relaxed);
  }
  return fd;
}

long io_uring_enter_call(long fd, long submit, long least, long flags, long argument, long size) {
  fd_call c(static_cast<int>(fd), readiness::readable, "io_uring_enter");
#ifdef BIDE_PRELOAD
  core::keep_kernel_thread();
#endif
  // Poll tells of one completion, not of several.
  constexpr long kept = IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT | IORING_ENTER_EXT_ARG;
  std::int64_t until;
  const bool parks = (flags & IORING_ENTER_GETEVENTS) && !(flags & ~kept) && static_cast<unsigned>(least) == 1 &&
                     c.kind() == io::fd_kind::counter && limit_of(flags, argument, size, until);
  if (!parks) return enter_in_kernel(fd, submit, least, flags, argument, size);
  flags &= ~long{IORING_ENTER_EXT_ARG};
  const long submitted = attempt(SYS_io_uring_enter, fd, submit, 0, flags, 0, 0);
  if (submitted < 0) return submitted;
  while (!poll_now(c.fd(), POLLIN)) {
    if (until != base::never && base::now() >= until) return submitted ? submitted : -ETIME;
    const long end = c.reactor().wait(c.fd(), readiness::readable, c.name(), std::min(trusted_until(), until));
    if (signal_seen(true) == after_signal::report) return submitted ? submitted : -EINTR;
    if (end == -ETIME) {
      c.reactor().renew(c.fd());
    } else if (end) {
      return submitted ? submitted : end;
    }
    // Some rings' completions are only made by who enters: io_uring_setup(2), IORING_SETUP_COOP_TASKRUN.
    attempt(SYS_io_uring_enter, fd, 0, 0, flags, 0, 0);
  }
  return submitted;
}

}  // namespace bide::call
