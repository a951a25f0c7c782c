#pragma once

namespace bide::sys {

// Kernel threads of this process, by /proc/self/task (proc(5)); 0 when that can't be read.
unsigned count_tasks() noexcept;

}  // namespace bide::sys
