#include "lib/sys/task_count.hpp"

#include <dirent.h>
#include <fcntl.h>

#include "lib/sys/raw.hpp"

namespace bide::sys {

unsigned count_tasks() noexcept {
  const long fd = raw(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  unsigned count = 0;
  alignas(dirent64) char entries[2048];
  for (long bytes; (bytes = raw(SYS_getdents64, fd, entries, sizeof entries)) > 0;) {
    for (long at = 0; at < bytes;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      if (entry->d_name[0] != '.') ++count;
      at += entry->d_reclen;
    }
  }
  raw(SYS_close, fd);
  return count;
}

}  // namespace bide::sys
