// io_uring_enter(2) of a preloaded program: waits for completions as for any descriptor, by the ring's readiness.
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>

#include "lib/call/attempt.hpp"
#include "lib/call/descriptor.hpp"
#include "lib/call/families.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"

namespace bide::call {
namespace {

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
  core::keep_kernel_thread();
  // Poll tells of one completion, not of several; and a time limit or a mask of its own is the kernel's to keep.
  const bool parks = (flags & IORING_ENTER_GETEVENTS) && static_cast<unsigned>(least) == 1 && !argument &&
                     !(flags & (IORING_ENTER_EXT_ARG | IORING_ENTER_REGISTERED_RING)) &&
                     c.kind() == io::fd_kind::counter;
  if (!parks) return enter_in_kernel(fd, submit, least, flags, argument, size);
  const long submitted = attempt(SYS_io_uring_enter, fd, submit, 0, flags, 0, size);
  if (submitted < 0) return submitted;
  while (!poll_now(c.fd(), POLLIN)) {
    const long end = c.reactor().wait(c.fd(), readiness::readable, c.name(), trusted_until());
    if (signal_seen(true) == after_signal::report) return submitted ? submitted : -EINTR;
    if (end == -ETIME) {
      c.reactor().renew(c.fd());
    } else if (end) {
      return submitted ? submitted : end;
    }
    // Some rings' completions are only made by who enters: io_uring_setup(2), IORING_SETUP_COOP_TASKRUN.
    attempt(SYS_io_uring_enter, fd, 0, 0, flags, 0, size);
  }
  return submitted;
}

}  // namespace bide::call
