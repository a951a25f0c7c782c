// The kernel's signal handler of a preloaded program: what it interrupts decides what it does.
#pragma once

#include <signal.h>

namespace bide::door {

void on_signal(int number, siginfo_t* info, void* context);

}  // namespace bide::door
