// Whose code an address is in: libc's, or the runtime's own.
#pragma once

#include <cstdint>

namespace bide::door {

// Finds both. The loader's lock is held meanwhile: with none of ours. Not in a signal handler.
void learn_code() noexcept;

// False before that.
bool in_libc(std::uintptr_t) noexcept;
bool in_runtime(std::uintptr_t) noexcept;

// While this lives its thread makes a call of the program's as it is: nothing of the runtime's is half done, and a handler that
// interrupts that may go on to other things, by siglongjmp(3) too.
class as_it_is {
 public:
  as_it_is() noexcept;
  ~as_it_is();
  as_it_is(const as_it_is&) = delete;
};

}  // namespace bide::door
