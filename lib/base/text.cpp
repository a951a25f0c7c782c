#include "lib/base/text.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include "asm/gate.h"

namespace bide::base {

void text::to_stderr() const noexcept {
  bide_gate(SYS_write, STDERR_FILENO, reinterpret_cast<long>(bytes_), static_cast<long>(size_), 0, 0, 0);
}

}  // namespace bide::base
