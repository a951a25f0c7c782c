// SIGSYS where the trap door of a linked program is open: never blocked, because a trap would kill then, and handled by
// nobody else. The program is told what it has asked for, and has it when the door is shut.
#include "lib/call/trapped.hpp"

#include <errno.h>
#include <signal.h>

#include <atomic>

#include "lib/base/spin.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/serve.hpp"
#include "lib/sys/signal_action.hpp"

namespace bide::call {
namespace {

using sys::signal_action;

constexpr std::uint64_t sigsys = sys::signal_bit(SIGSYS);
constexpr long set_size = sizeof sigsys;
constexpr int last_signal = 64;

std::atomic<bool> open{false};
std::atomic<std::uint32_t> lock{0};
signal_action of_program;                     // guarded by lock
std::atomic<std::uint64_t> blocking_handlers{0};  // bit n - 1: the program's handler of signal n blocks SIGSYS

// Read in a handler, so not to be allocated when first touched.
#define BIDE_THREADS_OWN constinit thread_local __attribute__((tls_model("initial-exec")))
BIDE_THREADS_OWN bool armed = false;
BIDE_THREADS_OWN bool blocked_by_program = false;

void note_blocking(int number, bool blocks) noexcept {
  const std::uint64_t bit = sys::signal_bit(number);
  blocks ? blocking_handlers.fetch_or(bit) : blocking_handlers.fetch_and(~bit);
}

// The mask without SIGSYS; what can't be read is the kernel's to refuse.
long without_sigsys(long mask, std::uint64_t& copy) noexcept {
  if (!mask || copy_in(&copy, reinterpret_cast<void*>(mask), sizeof copy)) return mask;
  copy &= ~sigsys;
  return sys::word(&copy);
}

// pselect6(2), io_pgetevents(2): the mask and its size are behind one more pointer.
struct sized_mask {
  long mask, size;
};
long without_sigsys(long at, sized_mask& sized, std::uint64_t& copy) noexcept {
  if (!at || copy_in(&sized, reinterpret_cast<void*>(at), sizeof sized)) return at;
  sized.mask = without_sigsys(sized.mask, copy);
  return sys::word(&sized);
}

long own_action(long wanted, long before) noexcept {
  signal_action now, was;
  if (wanted) {
    if (const long error = copy_in(&now, reinterpret_cast<void*>(wanted), sizeof now)) return error;
  }
  {
    const base::spin_guard guard(lock);
    was = of_program;
    if (wanted) of_program = now;
  }
  return before ? copy_out(reinterpret_cast<void*>(before), &was, sizeof was) : 0;
}

}  // namespace

bool traps() noexcept { return open.load(std::memory_order_relaxed); }
bool traps_here() noexcept { return armed; }

long rt_sigprocmask_call(long how, long wanted, long before, long size, long, long) {
  if (!armed || size != set_size) return bide_gate(SYS_rt_sigprocmask, how, wanted, before, size, 0, 0);
  std::uint64_t set = 0, was = 0;
  if (wanted) {
    if (const long error = copy_in(&set, reinterpret_cast<void*>(wanted), sizeof set)) return error;
  }
  const std::uint64_t allowed = set & ~sigsys;
  const long answer = sys::raw(SYS_rt_sigprocmask, how, wanted ? &allowed : nullptr, &was, set_size);
  if (answer != 0) return answer;
  if (blocked_by_program) was |= sigsys;
  if (wanted && (how == SIG_SETMASK || (set & sigsys))) blocked_by_program = how != SIG_UNBLOCK && (set & sigsys);
  return before ? copy_out(reinterpret_cast<void*>(before), &was, sizeof was) : 0;
}

long rt_sigaction_call(long number, long wanted, long before, long size, long, long) {
  if (!traps() || size != set_size || number < 1 || number > last_signal)
    return bide_gate(SYS_rt_sigaction, number, wanted, before, size, 0, 0);
  if (number == SIGSYS) return own_action(wanted, before);
  signal_action now, was;
  if (wanted) {
    if (const long error = copy_in(&now, reinterpret_cast<void*>(wanted), sizeof now)) return error;
  }
  const auto n = static_cast<int>(number);
  const bool blocks = now.mask & sigsys;
  now.mask &= ~sigsys;
  if (const long error = sys::rt_sigaction(n, wanted ? &now : nullptr, &was)) return error;
  if (blocking_handlers.load() & sys::signal_bit(n)) was.mask |= sigsys;
  if (wanted) note_blocking(n, blocks);
  return before ? copy_out(reinterpret_cast<void*>(before), &was, sizeof was) : 0;
}

// Who arms a kernel thread for itself would take it from us, as in a preloaded program.
long prctl_call(long option, long a, long b, long c, long d, long) {
  constexpr long set_syscall_user_dispatch = 59;
  if (armed && option == set_syscall_user_dispatch) return -EBUSY;
  return bide_gate(SYS_prctl, option, a, b, c, d, 0);
}

long pass(const request& r) noexcept {
  std::uint64_t mask;
  sized_mask sized;
  switch (r.nr) {
    case SYS_rt_sigprocmask: return rt_sigprocmask_call(r.a, r.b, r.c, r.d, r.e, r.f);
    case SYS_rt_sigaction: return rt_sigaction_call(r.a, r.b, r.c, r.d, r.e, r.f);
    case SYS_prctl: return prctl_call(r.a, r.b, r.c, r.d, r.e, r.f);
    case SYS_rt_sigsuspend: return bide_gate(r.nr, without_sigsys(r.a, mask), r.b, r.c, r.d, r.e, r.f);
    case SYS_ppoll: return bide_gate(r.nr, r.a, r.b, r.c, without_sigsys(r.d, mask), r.e, r.f);
    case SYS_epoll_pwait: case SYS_epoll_pwait2:
      return bide_gate(r.nr, r.a, r.b, r.c, r.d, without_sigsys(r.e, mask), r.f);
    case SYS_pselect6: case SYS_io_pgetevents:
      return bide_gate(r.nr, r.a, r.b, r.c, r.d, r.e, without_sigsys(r.f, sized, mask));
    default: return bide_gate(r.nr, r.a, r.b, r.c, r.d, r.e, r.f);
  }
}

void take_sigsys(const signal_action& before) noexcept {
  {
    const base::spin_guard guard(lock);
    of_program = before;
  }
  open.store(true, std::memory_order_relaxed);
  blocking_handlers.store(0);
  for (int n = 1; n <= last_signal; ++n) {
    signal_action a;
    if (sys::rt_sigaction(n, nullptr, &a) != 0 || !(a.mask & sigsys)) continue;
    a.mask &= ~sigsys;
    if (sys::rt_sigaction(n, &a, nullptr) == 0) note_blocking(n, true);
  }
}

signal_action action_for_sigsys() noexcept {
  const base::spin_guard guard(lock);
  return of_program;
}

void give_sigsys_back() noexcept {
  open.store(false, std::memory_order_relaxed);
  for (int n = 1; n <= last_signal; ++n) {
    signal_action a;
    if (!(blocking_handlers.load() & sys::signal_bit(n)) || sys::rt_sigaction(n, nullptr, &a) != 0) continue;
    a.mask |= sigsys;
    sys::rt_sigaction(n, &a, nullptr);
  }
  const signal_action back = action_for_sigsys();
  sys::rt_sigaction(SIGSYS, &back, nullptr);
}

void open_to_sigsys() noexcept {
  std::uint64_t before = 0;
  sys::rt_sigprocmask(SIG_UNBLOCK, sigsys, &before);
  if (before & sigsys) blocked_by_program = true;
  armed = true;
}

void leave_sigsys() noexcept {
  armed = false;
  if (blocked_by_program) sys::rt_sigprocmask(SIG_BLOCK, sigsys);
  blocked_by_program = false;
}

}  // namespace bide::call
