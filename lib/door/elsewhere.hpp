// Functions that wait inside libc, past every name: the whole function is called on an offload thread.
#pragma once

#include <netdb.h>
#include <signal.h>

#include "lib/door/door.hpp"

namespace bide::door {

// Runs `work` on an offload thread; errno and h_errno go there and come back, and the caller's signal mask goes along,
// because a program started there inherits it. Returns false when there is no thread.
template <class Work>
bool elsewhere(const char* what, Work work, decltype(bide_offload)* by = bide_offload) noexcept {
  struct all {
    Work& work;
    int error, resolver_error;
    unsigned long mask;
  } a{work, errno, h_errno, 0};
  raw(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &a.mask, sizeof a.mask);
  const int failed = by([](void* p) {
    auto& s = *static_cast<all*>(p);
    unsigned long before = 0;
    raw(SYS_rt_sigprocmask, SIG_SETMASK, &s.mask, &before, sizeof before);
    errno = s.error;
    s.work();
    s.error = errno;
    s.resolver_error = h_errno;
    raw(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  }, &a, what);
  if (failed) return false;
  errno = a.error;
  h_errno = a.resolver_error;
  return true;
}

// libc's function, on an offload thread when on a fiber. `without_thread`: what says "try again".
#define BIDE_ELSEWHERE(result, n, parameters, arguments, without_thread) \
  BIDE_ELSEWHERE_BY(bide_offload, result, n, parameters, arguments, without_thread)

#define BIDE_ELSEWHERE_BY(by, result, n, parameters, arguments, without_thread)      \
  namespace {                                                                        \
  BIDE_NAME(n);                                                                      \
  }                                                                                  \
  extern "C" BIDE_API result n parameters {                                          \
    using namespace ::bide;                                                          \
    const auto libc = door::real<result parameters>(n##_name);                       \
    if (!libc) return without_thread;                                                \
    if (!door::on_fiber()) return libc arguments;                                    \
    result answer = without_thread;                                                  \
    door::elsewhere(#n, [&] { answer = libc arguments; }, by);                       \
    return answer;                                                                   \
  }

}  // namespace bide::door
