// How a libc name becomes a door.
//
// On a fiber it asks the table of calls and turns -errno into errno, nothing else. On any other thread it is libc's own
// function, found once; and before that, as early as other libraries' constructors, the bare kernel call. No malloc, no
// lock and no dynamic TLS on the way.
#pragma once

#include <errno.h>
#ifdef BIDE_PRELOAD
#include <pthread.h>
#endif
#include <sys/syscall.h>

#include "lib/call/border.hpp"
#include "lib/fiber/worker_core.hpp"
#include "lib/sys/raw.hpp"

namespace bide::door {

// A name and libc's function of that name. Those of all doors lie side by side, and a constructor fills them in.
struct name {
  const char* text;
  void* real;
};

// Done for all by a constructor; a door without a bare kernel call to fall back on asks for its own earlier.
void find_libc(name& n);

#define BIDE_NAME(n) \
  __attribute__((section("bide_doors"), used)) constinit ::bide::door::name n##_name { #n, nullptr }

template <class Function>
Function* real(const name& n) noexcept {
  return reinterpret_cast<Function*>(n.real);
}

// The same as early as other libraries' constructors.
template <class Function>
Function* libcs(name& n) noexcept {
  if (!n.real) [[unlikely]] find_libc(n);
  return real<Function>(n);
}

inline bool on_fiber() noexcept { return core::this_fiber() != nullptr; }

inline long with_errno(long answer) noexcept {
  if (!sys::failed(answer)) return answer;
  errno = static_cast<int>(-answer);
  return -1;
}

// `Fails`: a call that is ended from outside says so by its answer, whatever the fiber asks for. So it is with those that
// libc declares never to throw: callers keep no way to unwind through them, and pthreads(7) cancels nobody there.
template <bool Fails = false, class... Args>
long call(long nr, Args... args) {
  static_assert(sizeof...(Args) <= 6);
  const long a[6] = {sys::word(args)...};
#ifdef BIDE_PRELOAD
  // As libc does around each call that is a cancellation point: while it waits the thread may be cancelled at any time.
  int before;
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
  const long answer = bide_call(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  pthread_setcanceltype(before, nullptr);
  return answer;
#else
  const long answer = bide_call(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  if constexpr (!Fails) {
    if (answer == -ECANCELED || answer == -ETIMEDOUT) [[unlikely]] bide_ended(answer);
  }
  return answer;
#endif
}

// Before libc is found.
template <class... Args>
long raw(long nr, Args... args) noexcept {
  const long a[6] = {sys::word(args)...};
  return bide_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// A door that hands its arguments on as they are.
//   BIDE_DOOR(result, name, (parameters), (arguments), SYS_number)
#define BIDE_UNPACK(...) __VA_ARGS__
#define BIDE_DOOR(result, n, parameters, arguments, number)                                                       \
  BIDE_DOOR_WITH(result, n, parameters, arguments, (number, BIDE_UNPACK arguments))

// A door that goes through the table on plain threads as well while a runtime runs: what it does to a descriptor is to be
// known to the fibers that use it.
#define BIDE_NOTED_DOOR(result, n, parameters, arguments, number)                                                 \
  namespace {                                                                                                     \
  BIDE_NAME(n);                                                                                                   \
  }                                                                                                               \
  extern "C" BIDE_API result n parameters {                                                                       \
    using namespace ::bide;                                                                                       \
    if (!bide_runtimes()) {                                                                                       \
      if (const auto libc = door::real<result parameters>(n##_name)) return libc arguments;                       \
      return static_cast<result>(door::with_errno(door::raw(number, BIDE_UNPACK arguments)));                     \
    }                                                                                                             \
    return static_cast<result>(door::with_errno(door::call(number, BIDE_UNPACK arguments)));                      \
  }

// The same where the kernel's arguments differ: (SYS_number, arguments...).
#define BIDE_DOOR_WITH(result, n, parameters, arguments, kernel_call)                                             \
  BIDE_DOOR_AS(false, result, n, parameters, arguments, kernel_call)

// The same where libc declares that it never throws.
#define BIDE_FAILING_DOOR(result, n, parameters, arguments, number)                                               \
  BIDE_DOOR_AS(true, result, n, parameters, arguments, (number, BIDE_UNPACK arguments))

#define BIDE_DOOR_AS(fails, result, n, parameters, arguments, kernel_call)                                        \
  namespace {                                                                                                     \
  BIDE_NAME(n);                                                                                                   \
  }                                                                                                               \
  extern "C" BIDE_API result n parameters {                                                                       \
    using namespace ::bide;                                                                                       \
    if (door::on_fiber())                                                                                         \
      return static_cast<result>(door::with_errno(door::call<fails> kernel_call));                                \
    if (const auto libc = door::real<result parameters>(n##_name)) [[likely]] return libc arguments;              \
    return static_cast<result>(door::with_errno(door::raw kernel_call));                                           \
  }

}  // namespace bide::door
