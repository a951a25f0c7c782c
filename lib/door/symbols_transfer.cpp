// read, write and kin, in all their spellings.
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/door/door.hpp"

extern "C" [[noreturn]] void __chk_fail();

#define BIDE_READ(n) BIDE_DOOR(ssize_t, n, (int fd, void* to, size_t size), (fd, to, size), SYS_read)
BIDE_READ(read)
BIDE_READ(__read)

#define BIDE_WRITE(n) BIDE_DOOR(ssize_t, n, (int fd, const void* from, size_t size), (fd, from, size), SYS_write)
BIDE_WRITE(write)
BIDE_WRITE(__write)

BIDE_DOOR(ssize_t, readv, (int fd, const iovec* v, int count), (fd, v, count), SYS_readv)
BIDE_DOOR(ssize_t, writev, (int fd, const iovec* v, int count), (fd, v, count), SYS_writev)

// _FORTIFY_SOURCE: libc's own jumps past the symbol `read`, so it needs a door of its own.
extern "C" BIDE_API ssize_t __read_chk(int fd, void* to, size_t size, size_t room) {
  if (size > room) __chk_fail();
  return read(fd, to, size);
}
