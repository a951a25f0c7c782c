// The kernel's signal handler of a preloaded program: what it interrupts decides what it does.
//
// It begins on the kernel thread's own signal stack, closed to all but faults, because what it interrupts may have no
// stack left. What takes no time is done there. What a thread of the program is to do, or to wait for, goes on elsewhere,
// with the frame: a handler where the kernel would have called it, a wait in a shelter.
#pragma once

#include <signal.h>

namespace bide::door {

void on_signal(int number, siginfo_t* info, void* context);

}  // namespace bide::door
