// The handlers of a preloaded program's signals: which is next, on which stack, under which mask, and what they leave.
#pragma once

#include <ucontext.h>

#include "lib/sched/delivery.hpp"

namespace bide::core {

// How the handlers that ran leave an interrupted call.
enum class handlers_ran { none, all_restart, some_do_not };

// Runs the handlers of what is pending and not blocked, on the calling thread's stack. `interrupted`: what the handlers see
// as that. Not noexcept: libc's cancellation unwinds out of a handler.
handlers_ran run_handlers(thread&, ucontext_t& interrupted);

// The next signal that is pending and not blocked, and has a handler; 0: none. Those before it that have none are done with.
int next_handled(thread&, signal_action&) noexcept;

// The thread that faulted handles it where it stands, whatever else is pending. Returns false, with nothing done, when
// there is no handler that may run: the fault is deadly.
bool handle_fault(thread&, siginfo_t&, ucontext_t& interrupted);

// The end of the alternate stack, where a handler with these flags begins that is to run there; 0: it runs below `here`.
std::uintptr_t alternate_for(const thread&, unsigned long flags, std::uintptr_t here) noexcept;
// sigaltstack(2), behind the copying; `here`: the thread's stack pointer. Returns 0 or -errno.
long change_alternate(thread&, const stack_t& wanted, std::uintptr_t here) noexcept;
bool is_on_alternate(const thread&, std::uintptr_t here) noexcept;

}  // namespace bide::core
