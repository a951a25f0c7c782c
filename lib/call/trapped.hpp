// Where the trap door of a linked program is open.
#pragma once

namespace bide::call {

// Anywhere in the process.
bool traps() noexcept;
// On the calling kernel thread.
bool traps_here() noexcept;

}  // namespace bide::call
