// The process's user and groups, in a preloaded program. The kernel keeps them for each kernel thread, and libc has each
// thread of the program change its own: the kernel threads that run none of them then follow before they run one.
#pragma once

#include <atomic>
#include <cstdint>

namespace bide::core {

struct carrier;

extern std::atomic<std::uint32_t> credential_changes;

// The calling kernel thread has just changed its own.
void note_credentials(carrier& here) noexcept;
// The calling kernel thread takes over what the last that changed them has.
void adopt_credentials(carrier& here) noexcept;

}  // namespace bide::core
