#include "lib/io/offload.hpp"

#include <errno.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <utility>

#include "lib/base/arena.hpp"
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
  offload_job* left = nullptr;    // guarded by lock; running, and left by who waited for them
  std::atomic<std::uint32_t> strays{0};   // threads with such a job that was there when the last runtime ended
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
    job->handle = sys::this_thread();
    return job;
  }
  return nullptr;
}

void forget(offload_job& job) noexcept {
  --(job.limit == offload_limit::counts ? the.counted : the.beyond);
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
  forget(job);
  job.over = true;
  if (job.who) core::wake(*job.who, wait_result::ready);
  the.busy.fetch_sub(1, std::memory_order_relaxed);  // after: while it counts, somebody can still be woken
}

// A thread that is no more. Lets the lock go.
void leave_pool() noexcept {
  the.threads.fetch_sub(1, std::memory_order_release);
  base::spin_unlock(the.lock);
  sys::futex_wake(the.threads, 1);
}

// Nobody waits for it. Returns whether the thread is a runtime's still; else it ends.
bool end_apart(offload_job& job) noexcept {
  base::spin_unlock(the.lock);
  job.drop(job.argument);  // before it no longer counts
  base::spin_lock(the.lock);
  const bool stray = job.stray;
  if (stray) {
    the.strays.fetch_sub(1, std::memory_order_relaxed);
  } else {
    for (offload_job** at = &the.left; *at; at = &(*at)->next) {
      if (*at != &job) continue;
      *at = job.next;
      break;
    }
    forget(job);
  }
  base::arena_free(&job);
  return !stray;
}

// A cancelled thread leaves its call by unwinding, and ends.
struct unwinding {
  offload_job& job;
  bool returned = false;
  ~unwinding() {
    if (returned) return;
    base::spin_lock(the.lock);
    end(job);
    leave_pool();
  }
};

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
      if (!job && woken == -ETIMEDOUT) return leave_pool();
    }
    if (!job) continue;
    base::spin_unlock(the.lock);
    unwinding guard{*job};
    job->work(job->argument);
    guard.returned = true;
    base::spin_lock(the.lock);
    if (job->left) {
      if (!end_apart(*job)) return base::spin_unlock(the.lock);
      continue;
    }
    const bool spent = job->spent;
    end(*job);
    if (spent) return leave_pool();
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
  if (call.stop == offload_stop::cancel) {
    call.answer = -EINTR;  // and so it stays if the thread is cancelled
    call.answer = call.make(call.of);
    return;
  }
  sys::unblock_interrupts();
  call.answer = call.make(call.of);
  sys::block_interrupts();
}

enum class parted { over, unbegun, left };

// Whoever waits for it goes on.
parted part_from(offload_job& job) noexcept {
  const base::spin_guard guard(the.lock);
  if (job.over) return parted::over;
  if (!job.thread && (job.limit == offload_limit::beyond || take_off(job))) return parted::unbegun;
  job.who = nullptr;
  job.left = true;
  job.next = the.left;
  the.left = &job;
  the.busy.fetch_sub(1, std::memory_order_relaxed);
  return parted::left;
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

int offload_apart(void (*work)(void*), void (*drop)(void*), void* argument, const char* what, offload_limit limit) noexcept {
  core::fiber* const me = core::this_fiber();
  if (!me) {
    work(argument);
    return 0;
  }
  core::waiter done(core::waiter::reach::anyone);
  const auto given_up = [&](int why) {
    drop(argument);
    return why;
  };
  const auto reason = [](wait_result how) { return how == wait_result::timed_out ? -ETIMEDOUT : -ECANCELED; };
  const bool begins = limit == offload_limit::beyond;
  if (!begins && core::ends_at_once(*me)) return given_up(reason(core::park(done, {what}, base::never, core::cancel_point::yes)));
  void* const memory = base::arena_allocate(sizeof(offload_job));
  if (!memory) return given_up(-EAGAIN);
  auto& job = *new (memory) offload_job;
  job.limit = limit;
  job.work = work;
  job.drop = drop;
  job.argument = argument;
  job.who = &done;
  if (const int error = enqueue(job)) {
    base::arena_free(memory);
    return given_up(error);
  }
  const wait_result how = core::park(done, {what}, base::never, core::cancel_point::yes);
  if (how == wait_result::ready) {
    base::spin_pass(the.lock);
    base::arena_free(memory);
    return 0;
  }
  base::race_point();
  parted where = part_from(job);
  while (begins && where == parted::unbegun) {
    core::waiter rest(core::waiter::reach::home);
    core::park(rest, {what}, base::after(base::now(), 100'000), core::cancel_point::no);
    where = part_from(job);
  }
  if (where == parted::left) return reason(how);
  base::arena_free(memory);
  if (where == parted::unbegun) return given_up(reason(how));
  if (how == wait_result::cancelled) core::keep_cancel(*me);
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
  call.interrupted = true;
  if (call.thread) {
    // Under the lock: the thread has not left the call for another, or ended.
    if (call.stop == offload_stop::signal) sys::interrupt(call.thread);
    else if (!std::exchange(call.spent, true)) sys::cancel_thread(call.handle);
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
    for (; the.left; the.left = the.left->next) {
      the.left->stray = true;
      forget(*the.left);
      the.threads.fetch_sub(1, std::memory_order_relaxed);
      the.strays.fetch_add(1, std::memory_order_relaxed);
    }
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
  the.left = nullptr;
  the.threads.store(0, std::memory_order_relaxed);
  the.strays.store(0, std::memory_order_relaxed);
  the.busy.store(0, std::memory_order_relaxed);
}

std::uint32_t offloads_begun() noexcept { return the.begun.load(std::memory_order_relaxed); }
unsigned offload_busy() noexcept { return the.busy.load(std::memory_order_relaxed); }
unsigned offload_threads() noexcept {
  return the.threads.load(std::memory_order_relaxed) + the.strays.load(std::memory_order_relaxed);
}

}  // namespace bide::io
