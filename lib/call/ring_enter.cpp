// io_uring_enter(2) of a program with rings of its own.
#include <errno.h>
#include <linux/io_uring.h>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/runtime.hpp"

namespace bide::call {

// Interrupted in its wait it says what it submitted, as if nothing had come: so what is to be submitted is, and then the
// wait is made until it ends or the signal is the thread's own.
long io_uring_enter_call(long ring, long submit, long wanted, long flags, long argument, long size) {
  long submitted = 0;
  if (submit && wanted && (flags & IORING_ENTER_GETEVENTS)) {
    submitted = bide_gate(SYS_io_uring_enter, ring, submit, 0, flags & ~long{IORING_ENTER_GETEVENTS}, argument, size);
    if (submitted < submit) return submitted;
    submit = 0;
  }
  for (;;) {
    const long answer = core::call_kernel(SYS_io_uring_enter, ring, submit, wanted, flags, argument, size);
    if (answer >= 0) return submitted ? submitted : answer;
    if (answer == -EINTR) {
      core::route_signals(*core::this_worker());
      if (!core::has_deliverable(*core::this_thread())) continue;
    }
    if (submitted) return submitted;
    core::this_thread()->restartable = false;
    return answer;
  }
}

}  // namespace bide::call
