// Files: opening, locking, what waits for a disk, and transfers between descriptors.
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/door/door.hpp"

extern "C" [[noreturn]] void __chk_fail();

// A mode is passed where a file may be made: open(2).
#define BIDE_OPEN(n)                                                                                       \
  namespace {                                                                                              \
  BIDE_NAME(n);                                                                                            \
  }                                                                                                        \
  extern "C" BIDE_API int n(const char* path, int flags, ...) {                                            \
    using namespace ::bide;                                                                                \
    va_list rest;                                                                                          \
    va_start(rest, flags);                                                                                 \
    const mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                        \
    va_end(rest);                                                                                          \
    if (door::on_fiber())                                                                                  \
      return static_cast<int>(door::with_errno(door::call(SYS_openat, AT_FDCWD, path, flags, mode)));      \
    if (const auto libc = door::real<int(const char*, int, ...)>(n##_name)) return libc(path, flags, mode); \
    return static_cast<int>(door::with_errno(door::raw(SYS_openat, AT_FDCWD, path, flags, mode)));         \
  }
BIDE_OPEN(open)
BIDE_OPEN(open64)
BIDE_OPEN(__open)
BIDE_OPEN(__open64)

#define BIDE_OPENAT(n)                                                                                          \
  namespace {                                                                                                   \
  BIDE_NAME(n);                                                                                                 \
  }                                                                                                             \
  extern "C" BIDE_API int n(int folder, const char* path, int flags, ...) {                                     \
    using namespace ::bide;                                                                                     \
    va_list rest;                                                                                               \
    va_start(rest, flags);                                                                                      \
    const mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                             \
    va_end(rest);                                                                                               \
    if (door::on_fiber())                                                                                       \
      return static_cast<int>(door::with_errno(door::call(SYS_openat, folder, path, flags, mode)));             \
    if (const auto libc = door::real<int(int, const char*, int, ...)>(n##_name)) return libc(folder, path, flags, mode); \
    return static_cast<int>(door::with_errno(door::raw(SYS_openat, folder, path, flags, mode)));                \
  }
BIDE_OPENAT(openat)
BIDE_OPENAT(openat64)

// _FORTIFY_SOURCE: a call that may make a file and gives no mode is refused.
#define BIDE_OPEN_2(n, as, parameters, arguments)                  \
  extern "C" BIDE_API int n parameters {                           \
    if (flags & (O_CREAT | __O_TMPFILE)) __chk_fail();             \
    return as arguments;                                           \
  }
BIDE_OPEN_2(__open_2, open, (const char* path, int flags), (path, flags))
BIDE_OPEN_2(__open64_2, open64, (const char* path, int flags), (path, flags))
BIDE_OPEN_2(__openat_2, openat, (int folder, const char* path, int flags), (folder, path, flags))
BIDE_OPEN_2(__openat64_2, openat64, (int folder, const char* path, int flags), (folder, path, flags))

BIDE_DOOR(int, creat, (const char* path, mode_t mode), (path, mode), SYS_creat)
BIDE_DOOR(int, creat64, (const char* path, mode_t mode), (path, mode), SYS_creat)

BIDE_FAILING_DOOR(int, flock, (int fd, int operation), (fd, operation), SYS_flock)

// lockf(3): only F_LOCK waits.
#define BIDE_LOCKF(n)                                                                                \
  namespace {                                                                                        \
  BIDE_NAME(n);                                                                                      \
  }                                                                                                  \
  extern "C" BIDE_API int n(int fd, int command, off_t length) {                                     \
    using namespace ::bide;                                                                          \
    if (command == F_LOCK && door::on_fiber()) {                                                     \
      struct flock lock {};                                                                          \
      lock.l_type = F_WRLCK;                                                                         \
      lock.l_whence = SEEK_CUR;                                                                      \
      lock.l_len = length;                                                                           \
      return static_cast<int>(door::with_errno(door::call(SYS_fcntl, fd, F_SETLKW, &lock)));         \
    }                                                                                                \
    const auto libc = door::real<int(int, int, off_t)>(n##_name);                                    \
    if (libc) return libc(fd, command, length);                                                      \
    errno = ENOSYS;                                                                                  \
    return -1;                                                                                       \
  }
BIDE_LOCKF(lockf)
BIDE_LOCKF(lockf64)

BIDE_DOOR(int, fsync, (int fd), (fd), SYS_fsync)
BIDE_DOOR(int, fdatasync, (int fd), (fd), SYS_fdatasync)
BIDE_FAILING_DOOR(int, syncfs, (int fd), (fd), SYS_syncfs)
BIDE_DOOR(int, msync, (void* at, size_t size, int flags), (at, size, flags), SYS_msync)
BIDE_DOOR(int, sync_file_range, (int fd, off_t from, off_t size, unsigned flags), (fd, from, size, flags),
          SYS_sync_file_range)
BIDE_FAILING_DOOR(ssize_t, readahead, (int fd, off_t from, size_t size), (fd, from, size), SYS_readahead)

namespace {
BIDE_NAME(sync);
}
extern "C" BIDE_API void sync() noexcept {
  using namespace bide;
  if (door::on_fiber()) {
    door::call<true>(SYS_sync);
  } else if (const auto libc = door::real<void()>(sync_name)) {
    libc();
  } else {
    door::raw(SYS_sync);
  }
}

#define BIDE_FALLOCATE(n)                                                                                    \
  BIDE_DOOR(int, n, (int fd, int mode, off_t from, off_t size), (fd, mode, from, size), SYS_fallocate)
BIDE_FALLOCATE(fallocate)
BIDE_FALLOCATE(fallocate64)
BIDE_FAILING_DOOR(int, truncate, (const char* path, off_t size), (path, size), SYS_truncate)
BIDE_FAILING_DOOR(int, truncate64, (const char* path, off_t size), (path, size), SYS_truncate)
BIDE_FAILING_DOOR(int, ftruncate, (int fd, off_t size), (fd, size), SYS_ftruncate)
BIDE_FAILING_DOOR(int, ftruncate64, (int fd, off_t size), (fd, size), SYS_ftruncate)

#define BIDE_PREAD(n) BIDE_DOOR(ssize_t, n, (int fd, void* to, size_t size, off_t at), (fd, to, size, at), SYS_pread64)
BIDE_PREAD(pread)
BIDE_PREAD(pread64)
BIDE_PREAD(__pread64)
#define BIDE_PWRITE(n) \
  BIDE_DOOR(ssize_t, n, (int fd, const void* from, size_t size, off_t at), (fd, from, size, at), SYS_pwrite64)
BIDE_PWRITE(pwrite)
BIDE_PWRITE(pwrite64)
BIDE_PWRITE(__pwrite64)
extern "C" BIDE_API ssize_t __pread_chk(int fd, void* to, size_t size, off_t at, size_t room) {
  if (size > room) __chk_fail();
  return pread(fd, to, size, at);
}
extern "C" BIDE_API ssize_t __pread64_chk(int fd, void* to, size_t size, off_t at, size_t room) {
  if (size > room) __chk_fail();
  return pread64(fd, to, size, at);
}

// The kernel takes an offset in two words.
#define BIDE_VECTOR_AT(n, number)                                                                  \
  BIDE_DOOR_WITH(ssize_t, n, (int fd, const iovec* v, int count, off_t at), (fd, v, count, at),    \
                 (number, fd, v, count, at, 0))
BIDE_VECTOR_AT(preadv, SYS_preadv)
BIDE_VECTOR_AT(preadv64, SYS_preadv)
BIDE_VECTOR_AT(pwritev, SYS_pwritev)
BIDE_VECTOR_AT(pwritev64, SYS_pwritev)
#define BIDE_VECTOR_2(n, number)                                                                                  \
  BIDE_DOOR_WITH(ssize_t, n, (int fd, const iovec* v, int count, off_t at, int flags), (fd, v, count, at, flags), \
                 (number, fd, v, count, at, 0, flags))
BIDE_VECTOR_2(preadv2, SYS_preadv2)
BIDE_VECTOR_2(preadv64v2, SYS_preadv2)
BIDE_VECTOR_2(pwritev2, SYS_pwritev2)
BIDE_VECTOR_2(pwritev64v2, SYS_pwritev2)

BIDE_FAILING_DOOR(ssize_t, sendfile, (int out, int in, off_t* at, size_t size), (out, in, at, size), SYS_sendfile)
BIDE_FAILING_DOOR(ssize_t, sendfile64, (int out, int in, off_t* at, size_t size), (out, in, at, size), SYS_sendfile)
BIDE_DOOR(ssize_t, splice, (int in, off_t* in_at, int out, off_t* out_at, size_t size, unsigned flags),
          (in, in_at, out, out_at, size, flags), SYS_splice)
BIDE_DOOR(ssize_t, tee, (int in, int out, size_t size, unsigned flags), (in, out, size, flags), SYS_tee)
BIDE_DOOR(ssize_t, vmsplice, (int fd, const iovec* v, size_t count, unsigned flags), (fd, v, count, flags), SYS_vmsplice)
BIDE_DOOR(ssize_t, copy_file_range, (int in, off_t* in_at, int out, off_t* out_at, size_t size, unsigned flags),
          (in, in_at, out, out_at, size, flags), SYS_copy_file_range)

BIDE_DOOR(ssize_t, getrandom, (void* to, size_t size, unsigned flags), (to, size, flags), SYS_getrandom)
