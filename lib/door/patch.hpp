// Hot syscall sites of libc, turned into jumps to the table.
#pragma once

#include <cstdint>

namespace bide::door {

// A trap came from this site: `after` is the address behind its syscall instruction. Patches the site when it is hot and
// its bytes allow it.
void note_trap(std::uintptr_t after, long nr) noexcept;

// Where to go on behind a site that trapped: it may have been patched since.
std::uintptr_t resume_address(std::uintptr_t after) noexcept;

void set_patching(bool on) noexcept;

}  // namespace bide::door
