// The trap door: Syscall User Dispatch (kernel documentation, admin-guide/syscall-user-dispatch). Every syscall
// instruction outside the gate raises SIGSYS; the handler makes the call through the table and goes on behind the
// instruction, without rt_sigreturn.
#pragma once

namespace bide::door {

// Arms the calling kernel thread. Returns 0 or -errno.
int arm_trap() noexcept;

// Installs SIGSYS's handler. Returns 0 or -errno.
int open_trap() noexcept;

}  // namespace bide::door
