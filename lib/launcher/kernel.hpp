// What this kernel has of what a preloaded program needs, asked by using it.
#pragma once

namespace bide::launcher {

// Without the first none is a fiber; the rest have slower ways round. BIDE_DISABLE counts as the kernel's refusal.
struct kernel_facts {
  bool trap;           // Syscall User Dispatch, Linux 5.11
  bool trap_disabled;  // it isn't there because BIDE_DISABLE says so
  bool io_uring;
  bool guard_install;  // MADV_GUARD_INSTALL, Linux 6.13
  bool fsgsbase;       // Linux 5.9
  bool shadow_stack;   // could be turned on for a process, Linux 6.6
  bool filtered;       // a seccomp filter is in force, and would be for the program
};

kernel_facts ask_kernel();

}  // namespace bide::launcher
