// A kernel that refuses: what no other means makes it run short of.
#pragma once

namespace unit {

// From now on every thread that the caller starts, and itself, gets `-error` for that system call from the kernel; for good,
// so in a scene of its own only. With `argument` the call is refused only where its second argument is that. Returns whether
// the kernel does it (seccomp(2)).
bool refuse(long nr, int error, long argument = -1);

}  // namespace unit
