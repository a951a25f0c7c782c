// The trap door of linked programs, as runtimes and workers open and shut it: options::trap. It is above us, in lib/door.
#pragma once

namespace bide::core {

// For one more runtime. Returns false where it can't be, and has said why on stderr.
bool open_trap_door() noexcept;
void close_trap_door() noexcept;

// On the calling kernel thread, which runs a worker from now on, or no longer.
void arm_trap_door() noexcept;
void disarm_trap_door() noexcept;

// In the child of a fork, whose runtime has it (on the thread that is left), or has not.
void trap_door_after_fork(bool goes_on) noexcept;

}  // namespace bide::core
