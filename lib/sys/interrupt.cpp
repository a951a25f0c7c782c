#include "lib/sys/interrupt.hpp"

#include <signal.h>

#include <atomic>

#include "lib/sys/raw.hpp"
#include "lib/sys/signal_action.hpp"

namespace bide::sys {
namespace {

std::atomic<int> number{-1};  // -1: not chosen yet, 0: there is none

void on_interrupt(int) {}

int choose() noexcept {
  for (int n = SIGRTMAX; n >= SIGRTMIN; --n) {
    signal_action now;
    const signal_action ours = handler(on_interrupt, 0);
    if (rt_sigaction(n, nullptr, &now) == 0 && !now.function && rt_sigaction(n, &ours, nullptr) == 0) return n;
  }
  return 0;
}

int our_signal() noexcept {
  int chosen = number.load(std::memory_order_acquire);
  if (chosen >= 0) return chosen;
  const int mine = choose();
  if (number.compare_exchange_strong(chosen, mine, std::memory_order_acq_rel)) return mine;
  // Another thread was quicker.
  const signal_action standard;
  if (mine && mine != chosen) rt_sigaction(mine, &standard, nullptr);
  return chosen;
}

void change_own(int how) noexcept {
  if (const int n = our_signal()) rt_sigprocmask(how, signal_bit(n));
}

}  // namespace

void unblock_interrupts() noexcept {
  if (const int n = our_signal()) {
    const std::uint64_t ours = signal_bit(n);
    const timespec at_once{};
    while (raw(SYS_rt_sigtimedwait, &ours, nullptr, &at_once, sizeof ours) == n) {
    }
  }
  change_own(SIG_UNBLOCK);
}
void block_interrupts() noexcept { change_own(SIG_BLOCK); }

void interrupt(long thread) noexcept {
  if (const int n = our_signal()) raw(SYS_tgkill, raw(SYS_getpid), thread, n);
}

}  // namespace bide::sys
