#include "lib/sched/fork.hpp"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/arena.hpp"
#include "lib/base/assert.hpp"
#include "lib/context/stack.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/io/offload.hpp"
#include "lib/sched/runtime.hpp"
#ifndef BIDE_PRELOAD
#include "lib/sched/trapping.hpp"
#endif
#include "lib/sync/futex.hpp"

namespace bide::core {

void before_fork() noexcept {
  io::all_fds_shared();
  context::lock_stacks();
  base::arena_lock();
}

void after_fork() noexcept {
  base::arena_unlock();
  context::unlock_stacks();
}

// Other threads may have held any other of our locks, and are not there to let go. Their fibers' stacks stay mapped and
// unused, as other threads' stacks do.
void after_fork_in_child() noexcept {
  core::forget_surplus();
  io::offload_after_fork();
  io::all_fds_shared();
  sync::futex_after_fork();
  auto* mine = static_cast<worker*>(this_worker());
#ifndef BIDE_PRELOAD
  trap_door_after_fork(mine && mine->runtime->traps);
#endif
  abandon_other_workers(mine);
  if (!mine) return;

  fiber* me = this_fiber();
  core::runtime& rt = *mine->runtime;
  rt.workers[0] = mine;
  rt.count = 1;
  rt.threads.store(0, std::memory_order_relaxed);
#ifndef BIDE_PRELOAD
  rt.watchdog_.forget();
#endif
  if (rt.main != me) {
    rt.main = nullptr;
    // Nobody is left who would say so.
    rt.closing.store(true, std::memory_order_relaxed);
    rt.orphaned = true;
  }
  mine->ready.clear();
  mine->timers.clear();
  mine->all.clear();
  mine->in.open();
  mine->incoming = 0;
  mine->live = 0;
  mine->asleep = false;
  if (me) {
    mine->all.push_back(*me);
    mine->live = 1;
    me->joiners = nullptr;
    me->requests = 0;
    me->cancel_pending = false;
  }
  io::offload_open(rt.how.offload_threads);
  BIDE_ASSERT(mine->io.reopen() == 0, "fork: the child can't make a loop of its own");
  mine->bell = mine->io.bell();
}

#ifndef BIDE_PRELOAD
void watch_forks() {
  static const int registered =
      pthread_atfork(before_fork, after_fork, [] {
        after_fork();
        after_fork_in_child();
      });
  (void)registered;
}

void leave_if_last_after_fork(const runtime& rt) {
  // pthread_create(3): the last thread's return is exit(0).
  if (rt.orphaned) ::exit(0);
}
#endif

}  // namespace bide::core
