// Programs started, run and waited for by libc, and the system's log.
//
// A program that is started holds the descriptors it inherits: what was remembered of them as nobody else's is so no more.
// A wait in system() or syslog() is ended as libc does it when its thread is cancelled: the program is killed and waited for,
// the log let go. pclose() goes on by itself until its program has ended, for whoever else may be waiting for that.
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syslog.h>
#include <wordexp.h>

#include "lib/door/elsewhere.hpp"

namespace {
using namespace bide;

BIDE_NAME(posix_spawn);
BIDE_NAME(posix_spawnp);
BIDE_NAME(pidfd_spawn);
BIDE_NAME(pidfd_spawnp);
BIDE_NAME(vfork);
BIDE_NAME(popen);
BIDE_NAME(system);
BIDE_NAME(pclose);
BIDE_NAME(vsyslog);
BIDE_NAME(__vsyslog_chk);

struct closing : door::lone_job {
  closing(int (*how)(FILE*), FILE* what) noexcept : libc(how), file(what) {}
  int (*libc)(FILE*);
  FILE* file;
  int answer = -1;
  void work() noexcept { answer = libc(file); }
};

// Returns as door::until_ended().
template <class Work>
long cancellable(const char* what, Work work) {
  const unsigned long mask = door::signal_mask();
  const long end = door::until_ended(what, bide_by_cancel, [&] {
    const door::as_if_masked callers(mask);
    work();
    return 0L;
  });
  if (end) bide_ended(end);
  return end;
}

using spawner = int(int*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const*, char* const*);

template <class... Arguments>
int spawn(const door::name& n, Arguments... arguments) {
  const auto libc = door::real<spawner>(n);
  if (!libc) return ENOSYS;
  bide_sharing();
  return libc(arguments...);
}

}  // namespace

#define BIDE_SPAWN(n)                                                                                             \
  extern "C" BIDE_API int n(int* child, const char* program, const posix_spawn_file_actions_t* actions,            \
                            const posix_spawnattr_t* how, char* const* arguments, char* const* environment) {      \
    return spawn(n##_name, child, program, actions, how, arguments, environment);                                 \
  }
BIDE_SPAWN(posix_spawn)
BIDE_SPAWN(posix_spawnp)
BIDE_SPAWN(pidfd_spawn)
BIDE_SPAWN(pidfd_spawnp)

// For asm/vfork.S.
extern "C" __attribute__((visibility("hidden"))) void* bide_before_vfork() {
  if (!vfork_name.real) door::find_libc(vfork_name);
  bide_sharing();
  return vfork_name.real;
}

extern "C" BIDE_API FILE* popen(const char* command, const char* mode) {
  const auto libc = door::real<FILE*(const char*, const char*)>(popen_name);
  if (!libc) {
    errno = ENOSYS;
    return nullptr;
  }
  bide_sharing();
  return libc(command, mode);
}

BIDE_ELSEWHERE(int, wordexp, (const char* words, wordexp_t* to, int flags), (words, to, flags), WRDE_NOSPACE)

extern "C" BIDE_API int system(const char* command) {
  const auto libc = door::real<int(const char*)>(system_name);
  if (!libc) return -1;
  bide_sharing();
  if (!door::on_fiber()) return libc(command);
  int answer = -1;
  if (const long end = cancellable("system", [&] { answer = libc(command); })) return static_cast<int>(door::with_errno(end));
  return answer;
}

// It closes the descriptor before it waits for the program.
extern "C" BIDE_API int pclose(FILE* file) {
  const auto libc = door::real<int(FILE*)>(pclose_name);
  if (!libc) return -1;
  if (bide_runtimes()) {
    const int fd = fileno(file);
    if (fd >= 0) bide_leaving(fd);
  }
  if (!door::on_fiber()) return libc(file);
  std::unique_ptr<closing> job(new (std::nothrow) closing(libc, file));
  if (!job) return static_cast<int>(door::with_errno(-ENOMEM));
  if (const long end = door::apart(job, "pclose", bide_beyond)) {
    bide_ended(end);
    return -1;
  }
  return job->answer;
}

// The log's daemon may be slow to take a message: unix(7) sockets wait for room.
extern "C" BIDE_API void vsyslog(int priority, const char* format, va_list arguments) {
  const auto libc = door::real<void(int, const char*, va_list)>(vsyslog_name);
  if (!libc) return;
  if (!door::on_fiber()) return libc(priority, format, arguments);
  va_list copy;
  va_copy(copy, arguments);
  cancellable("syslog", [&] { libc(priority, format, copy); });
  va_end(copy);
}
extern "C" BIDE_API void syslog(int priority, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsyslog(priority, format, arguments);
  va_end(arguments);
}
extern "C" BIDE_API void __vsyslog_chk(int priority, int level, const char* format, va_list arguments) {
  const auto libc = door::real<void(int, int, const char*, va_list)>(__vsyslog_chk_name);
  if (!libc) return;
  if (!door::on_fiber()) return libc(priority, level, format, arguments);
  va_list copy;
  va_copy(copy, arguments);
  cancellable("syslog", [&] { libc(priority, level, format, copy); });
  va_end(copy);
}
extern "C" BIDE_API void __syslog_chk(int priority, int level, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  __vsyslog_chk(priority, level, format, arguments);
  va_end(arguments);
}
