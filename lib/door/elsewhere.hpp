// Functions that wait inside libc, past every name: the whole function is called on an offload thread.
#pragma once

#include <netdb.h>
#include <signal.h>

#include <memory>
#include <utility>

#include "lib/door/door.hpp"

namespace bide::door {

// The calling thread, an offload thread, takes the signals that a thread with that mask does while this lives; a program that it
// starts inherits that.
class as_if_masked {
 public:
  explicit as_if_masked(unsigned long mask) noexcept {
    const unsigned long open = ~mask;
    raw(SYS_rt_sigprocmask, SIG_UNBLOCK, &open, &before_, sizeof before_);
  }
  ~as_if_masked() { raw(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_); }
  as_if_masked(const as_if_masked&) = delete;

 private:
  unsigned long before_ = 0;
};

inline unsigned long signal_mask() noexcept {
  unsigned long mask = 0;
  raw(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
  return mask;
}

// Runs `work` on an offload thread; errno and h_errno go there and come back, and the caller's signal mask goes along.
// Returns false when there is no thread.
template <class Work>
bool elsewhere(const char* what, Work work, decltype(bide_offload)* by = bide_offload) noexcept {
  struct all {
    Work& work;
    int error, resolver_error;
    unsigned long mask;
  } a{work, errno, h_errno, 0};
  a.mask = signal_mask();
  const int failed = by([](void* p) {
    auto& s = *static_cast<all*>(p);
    const as_if_masked callers(s.mask);
    errno = s.error;
    s.work();
    s.error = errno;
    s.resolver_error = h_errno;
  }, &a, what);
  if (failed) return false;
  errno = a.error;
  h_errno = a.resolver_error;
  return true;
}

// Makes `work`'s call on an offload thread until it is over or ended, as bide_await_call() does; errno goes there and comes
// back. Returns 0, or why it has no result: -EAGAIN when there is no thread.
template <class Work>
long until_ended(const char* what, bide_end by, Work work) noexcept {
  struct all {
    Work& work;
    int error;
  } a{work, errno};
  const long end = bide_await_call([](void* p) {
    auto& s = *static_cast<all*>(p);
    errno = s.error;
    const long answer = s.work();
    s.error = errno;
    return answer;
  }, &a, what, by);
  errno = a.error;
  return end == -ENOMEM ? -EAGAIN : end;
}

// Has `job`, which owns all it touches, do its work() on an offload thread. Returns 0; or why the wait for it was ended, and
// then it is no longer the caller's. Its `error` and `resolver_error` are what errno and h_errno are there.
struct lone_job {
  int error = errno, resolver_error = h_errno;
};
template <class Job>
long apart(std::unique_ptr<Job>& job, const char* what, bide_thread where = bide_counted) noexcept {
  const long end = bide_offload_apart([](void* p) {
    auto& it = *static_cast<Job*>(p);
    errno = it.error;
    it.work();
    it.error = errno;
    it.resolver_error = h_errno;
  }, [](void* p) { delete static_cast<Job*>(p); }, job.get(), what, where);
  if (end) {
    static_cast<void>(job.release());
    errno = static_cast<int>(-end);
    return end;
  }
  errno = job->error;
  h_errno = job->resolver_error;
  return 0;
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
