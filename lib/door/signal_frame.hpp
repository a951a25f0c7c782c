// What the kernel puts on a stack for a signal's handler, and how it is moved to another: signal(7), "Execution of signal
// handlers". It holds no address of its own but that of the registers' extended state.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>

namespace bide::door {

// struct rt_sigframe of the kernel's arch/x86/include/asm/sigframe.h; the extended state lies above it.
struct signal_frame {
  void* restorer;
  char context_bytes[offsetof(ucontext_t, uc_sigmask) + sizeof(std::uint64_t)];  // the kernel's sets have 64 signals
  siginfo_t info;

  ucontext_t& context() noexcept { return *reinterpret_cast<ucontext_t*>(context_bytes); }
};

// How much a frame takes of a stack at most.
std::size_t frame_bytes(const ucontext_t&) noexcept;

// A copy of the frame as near below `top` as may be. Returns null, and may have written some of it, where there is no
// memory for it.
signal_frame* copy_frame(std::uintptr_t top, const ucontext_t&, const siginfo_t&) noexcept;

// Goes on in the handler, below the frame; what lies on the stack left behind may go. The handler returns to what was
// interrupted, by rt_sigreturn.
[[noreturn]] void go_on_in(signal_frame&, void (*handler)(int, siginfo_t*, void*)) noexcept;

}  // namespace bide::door
