// Names of other threads: libc writes and reads them in /proc/self/task, which has the kernel's threads, not the fibers.
#include <pthread.h>
#include <string.h>

#include "lib/door/door.hpp"

namespace {
BIDE_NAME(pthread_setname_np);
BIDE_NAME(pthread_getname_np);

constexpr std::size_t name_bytes = 16;  // prctl(2), PR_SET_NAME
bool is_other(pthread_t thread) noexcept { return bide::door::on_fiber() && !pthread_equal(thread, pthread_self()); }
}  // namespace

extern "C" BIDE_API int pthread_setname_np(pthread_t thread, const char* name) {
  using namespace bide;
  if (!is_other(thread)) {
    const auto libc = door::real<decltype(pthread_setname_np)>(pthread_setname_np_name);
    return libc ? libc(thread, name) : ENOSYS;
  }
  char text[name_bytes] = {};
  const std::size_t length = strnlen(name, name_bytes);
  if (length >= name_bytes) return ERANGE;
  memcpy(text, name, length);
  return bide_change_name(thread, text, nullptr) ? 0 : ENOENT;
}

extern "C" BIDE_API int pthread_getname_np(pthread_t thread, char* to, size_t size) {
  using namespace bide;
  if (!is_other(thread)) {
    const auto libc = door::real<decltype(pthread_getname_np)>(pthread_getname_np_name);
    return libc ? libc(thread, to, size) : ENOSYS;
  }
  if (size < name_bytes) return ERANGE;
  return bide_change_name(thread, nullptr, to) ? 0 : ENOENT;
}
