// Files and devices: locks that others hold, opens that wait for a partner, and what waits for a disk.
//
// A lock is tried without waiting and then waited for on another kernel thread. What a disk makes wait is as
// options::files says: put to the kernel there and then, or on an offload thread; in a preloaded program the monitor
// sees to it that the worker goes on.
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/call/attempt.hpp"
#include "lib/call/descriptor.hpp"
#include "lib/call/families.hpp"
#include "lib/sched/runtime.hpp"

namespace bide::call {

long flock_call(long fd, long operation, long, long, long, long) {
  const long now = attempt(SYS_flock, fd, operation | LOCK_NB);
  if (now != -EWOULDBLOCK || (operation & LOCK_NB)) return now;
  return offloaded("a file lock", static_cast<int>(fd), restarts::yes, SYS_flock, fd, operation);
}

// Waits only in a system's first seconds, before it has gathered any chance.
long getrandom_call(long to, long size, long flags, long, long, long) {
  const long now = attempt(SYS_getrandom, to, size, flags | GRND_NONBLOCK);
  if (now != -EAGAIN || (flags & GRND_NONBLOCK)) return now;
  return offloaded(waits_for::machine, "getrandom", -1, restarts::yes, SYS_getrandom, to, size, flags);
}

long disk_call(long nr, long a, long b, long c, long d, long e, long f) noexcept {
#ifndef BIDE_PRELOAD
  if (core::this_fiber() && core::this_worker()->runtime->how.files == file_calls::offloaded)
    return offloaded(waits_for::machine, "a file", -1, restarts::yes, nr, a, b, c, d, e, f);
#endif
  return attempt(nr, a, b, c, d, e, f);
}

#ifndef BIDE_PRELOAD
namespace {

// Drivers of /dev/null and kin, and of terminals without a line: their opens don't wait.
bool opens_at_once(dev_t device) noexcept {
  const unsigned kind = major(device);
  return kind == 1 || kind == 5 || (kind >= 136 && kind <= 143);  // the kernel's devices.txt: mem, tty, pts
}

enum class opening { at_once, from_disk, with_partner };

// Asked first, because there is no form of open(2) that only says that it would have waited. `flags` are open's.
opening how_it_opens(long folder, long path, long flags) noexcept {
  if (flags & (O_NONBLOCK | O_PATH | O_DIRECTORY)) return opening::at_once;
  struct stat s;
  if (sys::raw(SYS_newfstatat, folder, path, &s, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) != 0)
    return opening::from_disk;
  if (S_ISFIFO(s.st_mode)) return (flags & O_ACCMODE) == O_RDWR ? opening::at_once : opening::with_partner;  // fifo(7)
  if (S_ISCHR(s.st_mode)) return opens_at_once(s.st_rdev) ? opening::at_once : opening::with_partner;
  return opening::from_disk;
}

long open_as(opening how, long nr, long a, long b, long c, long d) noexcept {
  long fd = -EINVAL;
  switch (how) {
    case opening::at_once: fd = attempt(nr, a, b, c, d); break;
    case opening::from_disk: fd = disk_call(nr, a, b, c, d, 0, 0); break;
    case opening::with_partner: fd = offloaded("open", -1, restarts::yes, nr, a, b, c, d); break;
  }
  if (fd >= 0) made(static_cast<int>(fd));
  return fd;
}

}  // namespace

long open_call(long path, long flags, long mode, long, long, long) {
  return open_as(how_it_opens(AT_FDCWD, path, flags), SYS_open, path, flags, mode, 0);
}

long creat_call(long path, long mode, long, long, long, long) {
  return open_as(how_it_opens(AT_FDCWD, path, O_WRONLY), SYS_creat, path, mode, 0, 0);
}

long openat_call(long folder, long path, long flags, long mode, long, long) {
  return open_as(how_it_opens(folder, path, flags), SYS_openat, folder, path, flags, mode);
}

long openat2_call(long folder, long path, long how, long size, long, long) {
  std::uint64_t flags = 0;  // the first member of struct open_how
  if (copy_in(&flags, reinterpret_cast<void*>(how), sizeof flags) != 0) flags = O_PATH;
  return open_as(how_it_opens(folder, path, static_cast<long>(flags)), SYS_openat2, folder, path, how, size);
}
#endif

}  // namespace bide::call
