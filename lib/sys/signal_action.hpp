// What happens on a signal, as the kernel has it: rt_sigaction(2), "C library/kernel differences".
//
// By the kernel's call: the symbol door would take a handler set through libc's name for the program's.
#pragma once

#include <signal.h>

#include <cstdint>

#include "lib/sys/raw.hpp"

namespace bide::sys {

struct signal_action {
  void* function = nullptr;
  unsigned long flags = 0;
  void* restorer = nullptr;
  std::uint64_t mask = 0;
};

inline constexpr std::uint64_t signal_bit(int number) noexcept { return std::uint64_t{1} << (number - 1); }

// A handler of ours, with a restorer that is in the gate.
template <class Handler>
signal_action handler(Handler* function, unsigned long flags) noexcept {
  constexpr unsigned long with_restorer = 0x04000000;
  return {reinterpret_cast<void*>(function), flags | with_restorer, reinterpret_cast<void*>(bide_gate_restorer), 0};
}

inline long rt_sigaction(int number, const signal_action* wanted, signal_action* before) noexcept {
  return raw(SYS_rt_sigaction, number, wanted, before, sizeof wanted->mask);
}

inline long rt_sigprocmask(int how, std::uint64_t signals, std::uint64_t* before = nullptr) noexcept {
  return raw(SYS_rt_sigprocmask, how, &signals, before, sizeof signals);
}

}  // namespace bide::sys
