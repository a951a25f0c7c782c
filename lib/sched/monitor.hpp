// A kernel thread that looks after workers which nobody else could: it hands the worker of a kernel thread that is stuck
// in the kernel to another, and interrupts one whose fiber computes while others wait.
#pragma once

#include <cstdint>

namespace bide::core {

// How long a fiber computes before others get their turn; 0: until it waits. Before the monitor starts.
void set_slice(std::int64_t ns) noexcept;

// Starts the monitor if it doesn't run. Any worker; called when the program makes a thread.
void start_monitor() noexcept;

// A worker stops sleeping: the monitor is to look again if it sleeps.
void wake_monitor() noexcept;

void monitor_after_fork() noexcept;

}  // namespace bide::core
