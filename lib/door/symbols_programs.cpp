// Programs run and waited for by libc, and the system's log.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syslog.h>
#include <wordexp.h>

#include "lib/door/elsewhere.hpp"

namespace {
BIDE_NAME(pclose);
BIDE_NAME(vsyslog);
BIDE_NAME(__vsyslog_chk);
}  // namespace

BIDE_ELSEWHERE(int, system, (const char* command), (command), -1)
BIDE_ELSEWHERE(int, wordexp, (const char* words, wordexp_t* to, int flags), (words, to, flags), WRDE_NOSPACE)

// It closes the descriptor before it waits for the program.
extern "C" BIDE_API int pclose(FILE* file) {
  using namespace bide;
  const auto libc = door::real<int(FILE*)>(pclose_name);
  if (!libc) return -1;
  if (bide_runtimes()) {
    const int fd = fileno(file);
    if (fd >= 0) bide_leaving(fd);
  }
  if (!door::on_fiber()) return libc(file);
  int answer = -1;
  door::elsewhere("pclose", [&] { answer = libc(file); });
  return answer;
}

// The log's daemon may be slow to take a message: unix(7) sockets wait for room.
extern "C" BIDE_API void vsyslog(int priority, const char* format, va_list arguments) {
  using namespace bide;
  const auto libc = door::real<void(int, const char*, va_list)>(vsyslog_name);
  if (!libc) return;
  if (!door::on_fiber()) return libc(priority, format, arguments);
  va_list copy;
  va_copy(copy, arguments);
  door::elsewhere("syslog", [&] { libc(priority, format, copy); });
  va_end(copy);
}
extern "C" BIDE_API void syslog(int priority, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsyslog(priority, format, arguments);
  va_end(arguments);
}
extern "C" BIDE_API void __vsyslog_chk(int priority, int level, const char* format, va_list arguments) {
  using namespace bide;
  const auto libc = door::real<void(int, int, const char*, va_list)>(__vsyslog_chk_name);
  if (!libc) return;
  if (!door::on_fiber()) return libc(priority, level, format, arguments);
  va_list copy;
  va_copy(copy, arguments);
  door::elsewhere("syslog", [&] { libc(priority, level, format, copy); });
  va_end(copy);
}
extern "C" BIDE_API void __syslog_chk(int priority, int level, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  __vsyslog_chk(priority, level, format, arguments);
  va_end(arguments);
}
