// Initialising a function's static variable, which may park: whoever else comes to it waits.
//
// The C++ runtime's own does that among threads, by futex; but of a process with one thread, as a runtime of one worker
// is, it believes that only a recursion can meet an initialisation in progress, and throws.
#include <atomic>

#include "lib/door/door.hpp"

namespace {
BIDE_NAME(__cxa_guard_acquire);

using namespace bide;

// The Itanium C++ ABI, 3.3.3: the first byte says that it is done. libstdc++ and libc++ both say in the second that
// somebody is at it.
bool in_progress(const std::uint64_t* guard) noexcept {
  const auto* bytes = reinterpret_cast<const unsigned char*>(guard);
  return !__atomic_load_n(bytes, __ATOMIC_ACQUIRE) && __atomic_load_n(bytes + 1, __ATOMIC_ACQUIRE);
}

}  // namespace

extern "C" BIDE_API int bide_door_guard_acquire(std::uint64_t* guard) __asm__("__cxa_guard_acquire");
extern "C" BIDE_API int bide_door_guard_acquire(std::uint64_t* guard) {
  // Once in a program's life for each variable: it may as well look now and then.
  constexpr timespec pause{0, 1'000'000};
  while (door::on_fiber() && in_progress(guard)) door::call(SYS_nanosleep, &pause, nullptr);
  door::find_libc(__cxa_guard_acquire_name);
  return door::real<int(std::uint64_t*)>(__cxa_guard_acquire_name)(guard);
}
