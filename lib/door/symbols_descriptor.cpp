// Descriptors that come and go. Closing is seen on every thread while a runtime runs: a parked fiber may be waiting.
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "lib/door/door.hpp"

BIDE_NOTED_DOOR(int, close, (int fd), (fd), SYS_close)
BIDE_NOTED_DOOR(int, __close, (int fd), (fd), SYS_close)
BIDE_NOTED_DOOR(int, dup2, (int from, int to), (from, to), SYS_dup2)
BIDE_NOTED_DOOR(int, __dup2, (int from, int to), (from, to), SYS_dup2)
BIDE_NOTED_DOOR(int, dup3, (int from, int to, int flags), (from, to, flags), SYS_dup3)
BIDE_NOTED_DOOR(int, close_range, (unsigned first, unsigned last, int flags), (first, last, flags), SYS_close_range)

namespace {
BIDE_NAME(closefrom);
BIDE_NAME(fcntl);
BIDE_NAME(fcntl64);
BIDE_NAME(ioctl);
}  // namespace

extern "C" BIDE_API void closefrom(int lowest) {
  if (!bide_runtimes()) {
    if (const auto libc = bide::door::real<decltype(closefrom)>(closefrom_name)) return libc(lowest);
  }
  close_range(lowest < 0 ? 0u : static_cast<unsigned>(lowest), ~0u, 0);
}

// These don't wait, but for locks; they are doors because of what they say of a descriptor.
BIDE_NOTED_DOOR(int, dup, (int fd), (fd), SYS_dup)
BIDE_NOTED_DOOR(int, pipe, (int* fds), (fds), SYS_pipe)
BIDE_NOTED_DOOR(int, pipe2, (int* fds, int flags), (fds, flags), SYS_pipe2)

// Both take at most one more argument of a word's size, so one word is passed on, whatever it is.
#define BIDE_CONTROL_DOOR(fails, n, operation, number)                                       \
  extern "C" BIDE_API int n(int fd, operation what, ...) {                                   \
    using namespace ::bide;                                                                  \
    va_list rest;                                                                            \
    va_start(rest, what);                                                                    \
    const long argument = va_arg(rest, long);                                                \
    va_end(rest);                                                                            \
    if (!bide_runtimes()) {                                                                  \
      if (const auto libc = door::real<int(int, operation, ...)>(n##_name)) return libc(fd, what, argument); \
    }                                                                                        \
    return static_cast<int>(door::with_errno(door::call<fails>(number, fd, what, argument))); \
  }

BIDE_CONTROL_DOOR(false, fcntl, int, SYS_fcntl)
BIDE_CONTROL_DOOR(false, fcntl64, int, SYS_fcntl)
BIDE_CONTROL_DOOR(true, ioctl, unsigned long, SYS_ioctl)
