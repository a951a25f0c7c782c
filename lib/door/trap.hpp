// The trap door of preloaded programs: every syscall instruction outside the gate raises SIGSYS; the handler makes the call
// through the table and goes on behind the instruction, without rt_sigreturn.
#pragma once

namespace bide::door {

// Installs SIGSYS's handler. Returns 0 or -errno.
int open_trap() noexcept;

}  // namespace bide::door
