// A runtime: its workers, where fibers go, and how it ends.
#pragma once

#include <bide/options.hpp>

#include <atomic>
#include <cstdint>

#include "lib/fiber/fiber.hpp"
#include "lib/sched/watchdog.hpp"
#include "lib/sched/worker.hpp"

namespace bide::core {

// Who starts a fiber mostly waits for it later or shares something with it, and from worker to worker each wake costs a
// message, and the bell if that one sleeps. A preloaded program's threads rather compute: they get an equal share.
enum class prefer : bool { balance, home };

// Says on stderr, once in a process, which word of BIDE_DISABLE is no feature's name.
void name_unknown_feature() noexcept;

struct runtime {
  // Opens every worker. Returns 0 or -errno with nothing left open.
  int open(const options&) noexcept;
  // Runs worker 0 on the calling thread, the others on their own, until every fiber has ended. `main` has been started.
  void run() noexcept;
  void close() noexcept;

  // The worker with the fewest fibers; the caller's own where others have no fewer and none of those sleeps, or with
  // prefer::home, where none has clearly fewer.
  worker_core& least_loaded(worker_core& mine, prefer) noexcept;

  // The first fiber has ended: cancels the others and those to come. Any worker.
  void begin_closing() noexcept;

  // From a worker that is hopeless. True when the runtime is closing and the last fiber has ended: it stops then.
  bool ended() noexcept;
  // Whether anything can still wake anybody; if not, says who waits for what and cancels them all.
  void judge() noexcept;
  // How long a worker without hope sleeps before that: the last to lose it judges, the others wait to be woken.
  std::int64_t patience() const noexcept;

  options how;
  unsigned count = 0;
  worker* workers[most_workers] = {};
  fiber* main = nullptr;  // null once it has ended
  void* entrance = nullptr;  // the way in from outside, as lib/task has it
  bool traps = false;     // options::trap, and the door could be opened
  bool stepped = false;   // its one worker runs when the program steps it, and waits by epoll
  bool for_ever = false;  // a preloaded program: it ends as the program does, and a deadlock is the program's
  bool orphaned = false;  // the child of a fork made by another fiber than main
  std::atomic<bool> closing{false}, stopping{false}, stuck{false};
  std::atomic<std::uint32_t> threads{0};  // workers beyond the first that have not left run(); a futex

 private:
  friend void after_fork_in_child() noexcept;
  bool all_quiet(std::uint32_t& live) noexcept;
  std::uint32_t wakes() const noexcept;
  bool nothing_can_wake() noexcept;
  void condemn() noexcept;
  void tell_all(void (*what)(worker_core&, void*) noexcept) noexcept;

  std::atomic<std::int64_t> patience_{10'000'000};
#ifndef BIDE_PRELOAD
  watchdog watchdog_;
#endif
  bool opened_ = false;
  std::atomic<bool> judging_{false};
};

// Every worker that runs in the process, by index; null where there is none.
worker* worker_at(unsigned index) noexcept;

// Runtimes that are open now. Any thread.
unsigned runtimes() noexcept;

// The child of a fork: only `mine`, if any, is left.
void abandon_other_workers(worker* mine) noexcept;

}  // namespace bide::core
