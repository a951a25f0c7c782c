#include "lib/sys/interrupt.hpp"

#include <signal.h>

#include <atomic>
#include <cstdint>

#include "lib/sys/raw.hpp"

namespace bide::sys {
namespace {

// As the kernel has it: rt_sigaction(2), "C library/kernel differences".
struct kernel_action {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)();
  std::uint64_t mask;
};
constexpr unsigned long with_restorer = 0x04000000;

std::atomic<int> number{-1};  // -1: not chosen yet, 0: there is none

void on_interrupt(int) {}

// By the kernel's call: the symbol door would take a handler set through libc's name for the program's.
long act(int n, const kernel_action* wanted, kernel_action* before) noexcept {
  return raw(SYS_rt_sigaction, n, wanted, before, sizeof wanted->mask);
}

int choose() noexcept {
  for (int n = SIGRTMAX; n >= SIGRTMIN; --n) {
    kernel_action now{};
    const kernel_action ours{on_interrupt, with_restorer, bide_gate_restorer, 0};
    if (act(n, nullptr, &now) == 0 && now.handler == SIG_DFL && act(n, &ours, nullptr) == 0) return n;
  }
  return 0;
}

int our_signal() noexcept {
  int chosen = number.load(std::memory_order_acquire);
  if (chosen >= 0) return chosen;
  const int mine = choose();
  if (number.compare_exchange_strong(chosen, mine, std::memory_order_acq_rel)) return mine;
  // Another thread was quicker.
  const kernel_action standard{};
  if (mine && mine != chosen) act(mine, &standard, nullptr);
  return chosen;
}

void change_mask(int how) noexcept {
  const int n = our_signal();
  if (!n) return;
  const std::uint64_t mask = std::uint64_t{1} << (n - 1);
  raw(SYS_rt_sigprocmask, how, &mask, nullptr, sizeof mask);
}

}  // namespace

void unblock_interrupts() noexcept {
  if (const int n = our_signal()) {
    const std::uint64_t ours = std::uint64_t{1} << (n - 1);
    const timespec at_once{};
    while (raw(SYS_rt_sigtimedwait, &ours, nullptr, &at_once, sizeof ours) == n) {
    }
  }
  change_mask(SIG_UNBLOCK);
}
void block_interrupts() noexcept { change_mask(SIG_BLOCK); }

void interrupt(long thread) noexcept {
  if (const int n = our_signal()) raw(SYS_tgkill, raw(SYS_getpid), thread, n);
}

}  // namespace bide::sys
