// Whose code an address is in: libc's, or the runtime's own.
#pragma once

#include <cstdint>

namespace bide::door {

// Finds both. The loader's lock is held meanwhile: with none of ours. Not in a signal handler.
void learn_code() noexcept;

// False before that. The kernel's page of code, whose clocks may make calls, counts as libc's.
bool in_libc(std::uintptr_t) noexcept;
bool in_kernels_page(std::uintptr_t) noexcept;
bool in_runtime(std::uintptr_t) noexcept;

}  // namespace bide::door
