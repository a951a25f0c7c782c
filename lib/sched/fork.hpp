// fork(2) in a process with a runtime: the child has the forking fiber and no other, and loops of its own.
#pragma once

namespace bide::core {

// Before a fork: nobody else is inside of what the child goes on with, until after_fork(), which comes first in both
// processes.
void before_fork() noexcept;
void after_fork() noexcept;

// In the child: only the calling fiber is left.
void after_fork_in_child() noexcept;

struct runtime;

// From now on fork() is followed up; pthread_atfork(3).
void watch_forks();

// In a child whose first fiber is not there, the end of the last fiber is the end of the process, as with threads.
void leave_if_last_after_fork(const runtime&);

}  // namespace bide::core
