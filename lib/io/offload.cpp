#include "lib/io/offload.hpp"

#include <errno.h>

#include <algorithm>
#include <atomic>

#include "lib/base/clock.hpp"
#include "lib/base/race.hpp"
#include "lib/base/spin.hpp"
#include "lib/sys/interrupt.hpp"
#include "lib/sys/raw.hpp"
#include "lib/sys/thread.hpp"

namespace bide::io {
namespace {

constexpr std::int64_t linger = base::second;

struct pool {
  std::atomic<std::uint32_t> lock{0};
  offload_job* first = nullptr;   // guarded by lock
  offload_job** last = &first;    // guarded by lock
  unsigned queued = 0;            // guarded by lock
  unsigned idle = 0;              // guarded by lock
  unsigned starting = 0;          // guarded by lock; counted in `threads` but maybe never to be
  unsigned most = 0;              // guarded by lock
  unsigned counted = 0;           // guarded by lock; jobs running that count
  unsigned beyond = 0;            // guarded by lock; jobs queued or running that don't
  unsigned runtimes = 0;          // guarded by lock
  std::atomic<std::uint32_t> threads{0};  // changed under lock; the futex of offload_close
  std::atomic<std::uint32_t> work{0};     // counts what idle threads should look at: their futex
  std::atomic<std::uint32_t> busy{0};     // jobs queued or running
  std::atomic<std::uint32_t> begun{0};    // jobs queued since ever
};
constinit pool the;

offload_job* unlink(offload_job** at) noexcept {
  offload_job* const job = *at;
  *at = job->next;
  if (!*at) the.last = at;
  --the.queued;
  return job;
}

// The first that a thread may begin now.
offload_job* take(long thread) noexcept {
  for (offload_job** at = &the.first; *at; at = &(*at)->next) {
    const bool counts = (*at)->limit == offload_limit::counts;
    if (counts && the.counted >= the.most) continue;
    offload_job* const job = unlink(at);
    the.counted += counts;
    job->thread = thread;
    return job;
  }
  return nullptr;
}

// Returns whether it was in the queue still.
bool take_off(offload_job& job) noexcept {
  for (offload_job** at = &the.first; *at; at = &(*at)->next) {
    if (*at != &job) continue;
    unlink(at);
    the.beyond -= job.limit == offload_limit::beyond;
    the.busy.fetch_sub(1, std::memory_order_relaxed);
    return true;
  }
  return false;
}

// Its maker may let it go at once when the lock is let go.
void end(offload_job& job) noexcept {
  --(job.limit == offload_limit::counts ? the.counted : the.beyond);
  job.over = true;
  if (job.who) core::wake(*job.who, wait_result::ready);
  the.busy.fetch_sub(1, std::memory_order_relaxed);  // after: while it counts, somebody can still be woken
}

void serve(void*) {
  const long me = sys::raw(SYS_gettid);
  base::spin_lock(the.lock);
  for (;;) {
    offload_job* job = take(me);
    if (!job) {
      ++the.idle;
      const std::uint32_t seen = the.work.load(std::memory_order_relaxed);
      const bool ending = the.runtimes == 0;
      base::spin_unlock(the.lock);
      const long woken = ending ? -ETIMEDOUT : sys::futex_wait(the.work, seen, base::after(base::kernel_now(), linger));
      base::spin_lock(the.lock);
      --the.idle;
      job = take(me);
      if (!job && woken == -ETIMEDOUT) {
        the.threads.fetch_sub(1, std::memory_order_release);
        base::spin_unlock(the.lock);
        sys::futex_wake(the.threads, 1);
        return;
      }
    }
    if (!job) continue;
    base::spin_unlock(the.lock);
    job->work(job->argument);
    base::spin_lock(the.lock);
    end(*job);
  }
}

// Returns false when the job can't be done: no thread could be started, and there is no other that will take it.
bool start_one(offload_job& job) noexcept {
  const bool started = sys::start_thread("bide-offload", sys::signals::blocked, serve, nullptr) == 0;
  base::spin_guard guard(the.lock);
  --the.starting;
  if (started) return true;
  if (the.threads.fetch_sub(1, std::memory_order_relaxed) - 1 > the.starting) return true;
  return !take_off(job);  // not there: taken by one that has ended since
}

// Returns 0 or -EAGAIN.
int enqueue(offload_job& job) noexcept {
  base::spin_lock(the.lock);
  *the.last = &job;
  the.last = &job.next;
  ++the.queued;
  the.beyond += job.limit == offload_limit::beyond;
  the.busy.fetch_add(1, std::memory_order_relaxed);
  the.begun.fetch_add(1, std::memory_order_relaxed);
  const bool one_more = the.queued > the.idle && the.threads.load(std::memory_order_relaxed) < the.most + the.beyond;
  if (one_more) {
    the.threads.fetch_add(1, std::memory_order_relaxed);
    ++the.starting;
  }
  the.work.fetch_add(1, std::memory_order_relaxed);
  base::spin_unlock(the.lock);
  sys::futex_wake(the.work, 1);
  return one_more && !start_one(job) ? -EAGAIN : 0;
}

void make_call(void* p) {
  auto& call = *static_cast<offload_call*>(p);
  const long* a = call.arguments;
  sys::unblock_interrupts();
  call.answer = sys::raw(call.nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  sys::block_interrupts();
}

}  // namespace

int offload(void (*work)(void*), void* argument, const char* what, offload_limit limit) noexcept {
  if (!core::this_fiber()) {
    work(argument);
    return 0;
  }
  core::waiter done(core::waiter::reach::anyone);
  offload_job job;
  job.limit = limit;
  job.work = work;
  job.argument = argument;
  job.who = &done;
  if (const int error = enqueue(job)) return error;
  core::park(done, {what}, base::never, core::cancel_point::no);
  base::spin_pass(the.lock);
  return 0;
}

int offload_begin(offload_call& call, core::waiter& w) noexcept {
  call.work = make_call;
  call.argument = &call;
  call.who = &w;
  return enqueue(call);
}

bool offload_over(const offload_call& call) noexcept {
  const base::spin_guard guard(the.lock);
  return call.over;
}

void offload_interrupt(offload_call& call) noexcept {
  const base::spin_guard guard(the.lock);
  if (call.over) return;
  if (call.thread) {
    sys::interrupt(call.thread);  // under the lock: the thread has not left the call for another
  } else if (take_off(call)) {
    call.answer = -EINTR;
    call.over = true;
  }
}

void offload_end(offload_call& call) noexcept {
  // A signal may come before the thread is in the kernel; so it is sent again, until the call is over.
  for (std::int64_t pause = 1'000'000;; pause = std::min<std::int64_t>(pause * 2, base::second)) {
    core::waiter rest(core::waiter::reach::anyone);
    {
      const base::spin_guard guard(the.lock);
      if (call.over) return;
      call.who = &rest;
    }
    offload_interrupt(call);
    base::race_point();
    // Woken by its end while we looked, the news is on its way to this fiber, which must be there to take it.
    if (!offload_over(call) || rest.is_decided())
      core::park(rest, {"the end of an offloaded call"}, base::after(base::now(), pause), core::cancel_point::no);
    const base::spin_guard guard(the.lock);
    call.who = nullptr;
  }
}

void offload_open(unsigned most) noexcept {
  base::spin_guard guard(the.lock);
  ++the.runtimes;
  the.most = most;
}

void offload_close() noexcept {
  {
    base::spin_guard guard(the.lock);
    if (--the.runtimes) return;
    the.work.fetch_add(1, std::memory_order_relaxed);
  }
  sys::futex_wake(the.work, INT32_MAX);
  for (std::uint32_t left; (left = the.threads.load(std::memory_order_acquire)) != 0;)
    sys::futex_wait(the.threads, left, base::never);
}

void offload_after_fork() noexcept {
  the.lock.store(0, std::memory_order_relaxed);
  the.first = nullptr;
  the.last = &the.first;
  the.queued = the.idle = the.starting = the.runtimes = the.counted = the.beyond = 0;
  the.threads.store(0, std::memory_order_relaxed);
  the.busy.store(0, std::memory_order_relaxed);
}

std::uint32_t offloads_begun() noexcept { return the.begun.load(std::memory_order_relaxed); }
unsigned offload_busy() noexcept { return the.busy.load(std::memory_order_relaxed); }
unsigned offload_threads() noexcept { return the.threads.load(std::memory_order_relaxed); }

}  // namespace bide::io
