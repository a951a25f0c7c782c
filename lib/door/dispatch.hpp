// Syscall User Dispatch (kernel documentation, admin-guide/syscall-user-dispatch): on a kernel thread where it is armed,
// each syscall instruction outside the gate raises SIGSYS. For the trap doors, of preloaded programs and linked ones.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include "lib/call/serve.hpp"
#include "lib/sys/signal_action.hpp"

namespace bide::door {

inline constexpr int sys_user_dispatch = 2;  // si_code of SIGSYS

// Why it can't be armed on this machine; null: it can.
const char* dispatch_obstacle() noexcept;

// Arms the calling kernel thread, or disarms it. Returns 0 or -errno.
int arm_dispatch() noexcept;
void disarm_dispatch() noexcept;

// What of the vector state there is, as XCR0 has it (Intel SDM, volume 1, 13.1).
unsigned vector_state() noexcept;

// Installs SIGSYS's handler, which is to leave by bide_resume. Returns 0 or -errno.
int handle_dispatch(void (*handler)(int, siginfo_t*, void*), sys::signal_action* before) noexcept;

// A SIGSYS of other origin (a seccomp filter's, or sent) is the program's to handle, by that action.
void chain(const sys::signal_action&, int number, siginfo_t*, void* context);

inline call::request request_of(const greg_t* g) noexcept {
  return {g[REG_RAX], g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9]};
}

// A new thread inherits how its maker rounds; a handler begins with the standard (signal(7)).
inline void adopt_float_control(const ucontext_t& u) noexcept {
  const auto& f = *u.uc_mcontext.fpregs;
  asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(f.mxcsr), "m"(f.cwd));
}

}  // namespace bide::door
