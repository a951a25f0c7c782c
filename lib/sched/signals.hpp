// Signal handlers and parked fibers: a handler runs on the kernel thread it hits; the first fiber, which is what the
// main thread would have been, sees its call in progress interrupted.
#pragma once

#include "lib/fiber/worker_core.hpp"

namespace bide::core {

// In a signal handler, on any thread: says that a handler ran, with or without SA_RESTART. One that hits the first fiber
// while it runs interrupts no call.
void note_signal(bool restarts) noexcept;

// A runtime's first worker takes the signals if no other runtime's has them, and gives them up at its end.
void claim_signals(worker_core&) noexcept;
void leave_signals(worker_core&) noexcept;

// On that worker, between fibers.
void deliver_signals(worker_core&) noexcept;

}  // namespace bide::core
