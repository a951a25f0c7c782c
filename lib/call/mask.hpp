// A signal mask for the time of a wait.
#pragma once

#include <signal.h>

#include "lib/call/attempt.hpp"
#include "lib/fiber/worker_core.hpp"
#include "lib/sys/raw.hpp"
#ifdef BIDE_PRELOAD
#include "lib/sched/delivery.hpp"
#else
#include "lib/call/trapped.hpp"
#include "lib/sys/signal_action.hpp"
#endif

namespace bide::call {

#ifdef BIDE_PRELOAD

// A signal mask for the time of a wait, as ppoll(2) sets it.
class mask_for_wait {
 public:
  mask_for_wait(const void* mask, std::size_t size) noexcept {
    if (!mask) return;
    core::signal_set set = 0;
    if (size != sizeof set) {
      error_ = -EINVAL;
    } else if ((error_ = copy_in(&set, mask, size)) == 0) {
      core::thread& me = *core::this_thread();
      core::borrow_mask(me, set);
      interrupted_ = core::has_deliverable(me);
    }
  }
  long error() const noexcept { return error_; }
  // A signal that was pending came through: a call that finds nothing ready doesn't wait.
  bool interrupted() const noexcept { return interrupted_; }
  // How the call ends. Only one that was interrupted has the handlers see its mask; serve() gives that back then.
  long end(long answer) const noexcept {
    core::thread& me = *core::this_thread();
    if (answer != -EINTR) core::return_mask(me);
    me.restartable = false;  // signal(7): never restarted
    return answer;
  }

 private:
  long error_ = 0;
  bool interrupted_ = false;
};

#else

// A signal mask for the time of a wait, as ppoll(2) sets it. It is the worker's while the fiber is parked.
class mask_for_wait {
 public:
  mask_for_wait(const void* mask, std::size_t size) noexcept : worker_(*core::this_worker()), size_(size) {
    if (!mask) return;
    const std::uint32_t ran = worker_.handlers.load(std::memory_order_relaxed);
    unsigned long before = 0;
    error_ = attempt(SYS_rt_sigprocmask, SIG_SETMASK, mask, &before, size);
    interrupted_ = worker_.handlers.load(std::memory_order_relaxed) != ran;
    set_ = error_ == 0;
    if (set_ && traps_here()) sys::rt_sigprocmask(SIG_UNBLOCK, sys::signal_bit(SIGSYS));  // other fibers run meanwhile
    if (set_ && worker_.masked_waits++ == 0) worker_.mask_before = before;
  }
  // Waits overlap in any order: the last to end puts back what was before the first.
  ~mask_for_wait() {
    if (set_ && --worker_.masked_waits == 0)
      sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &worker_.mask_before, nullptr, size_);
  }
  mask_for_wait(const mask_for_wait&) = delete;
  long error() const noexcept { return error_; }
  // A signal that was pending came through: a call that finds nothing ready doesn't wait.
  bool interrupted() const noexcept { return interrupted_; }
  long end(long answer) const noexcept { return answer; }

 private:
  core::worker_core& worker_;
  const std::size_t size_;
  bool set_ = false;
  long error_ = 0;
  bool interrupted_ = false;
};

#endif

}  // namespace bide::call
