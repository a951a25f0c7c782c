#include "support/runtime.hpp"

#include <dirent.h>
#include <sched.h>

#include "lib/base/clock.hpp"
#include "lib/context/stack.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/task_count.hpp"

namespace unit {

using namespace bide;

std::size_t stacks_in_use() {
  const context::stack_counts now = context::count_stacks();
  return now.carved - now.cold;
}

int open_descriptors() {
  DIR* all = opendir("/proc/self/fd");
  int count = -1;  // its own
  while (const dirent* d = readdir(all)) count += d->d_name[0] != '.';
  closedir(all);
  return count;
}

leftovers::leftovers()
    : stacks_(stacks_in_use()), descriptors_(open_descriptors()), threads_(sys::count_tasks()) {}

leftovers::~leftovers() {
  CHECK(stacks_in_use() == stacks_);
  CHECK(open_descriptors() == descriptors_);
  CHECK(core::runtimes() == 0);
  // A thread that has left the runtime still has its own end before it.
  for (const std::int64_t end = base::now() + base::second; sys::count_tasks() > threads_ && base::now() < end;)
    sched_yield();
  CHECK(sys::count_tasks() <= threads_);
}

census count_fibers() {
  core::runtime& mine = *core::this_worker()->runtime;
  census sum{0, 0};
  for (unsigned i = 0; i < mine.count; ++i) {
    core::run_at(*mine.workers[i], [](core::worker_core& w, void* p) noexcept {
      auto& total = *static_cast<census*>(p);
      for (const core::fiber& f : w.all) {
        ++total.others;
        total.parked += f.state == core::fiber_state::parked && !f.wait->is_decided();
      }
      total.others += w.incoming.load();
    }, &sum);
  }
  --sum.others;  // the caller, who runs while its own worker is counted, or else is first of all
  return sum;
}

void until_parked(unsigned count) {
  while (count_fibers().parked != count) yield();
}

void until_all_parked() {
  for (;;) {
    const census now = count_fibers();
    if (now.parked == now.others) return;
    yield();
  }
}

void until_main_waits() {
  core::worker_core& its = *core::this_worker()->runtime->workers[0];
  until([&] {
    bool parked = false;
    core::run_at(its, [](core::worker_core& w, void* p) noexcept {
      const core::fiber* main = w.runtime->main;
      *static_cast<bool*>(p) = main && main->state == core::fiber_state::parked && main->reason.in_call;
    }, &parked);
    return parked;
  });
}

void wake_for_nothing() {
  core::runtime& mine = *core::this_worker()->runtime;
  for (unsigned i = 0; i < mine.count; ++i) {
    core::run_at(*mine.workers[i], [](core::worker_core& w, void*) noexcept {
      for (core::fiber& f : w.all) {
        if (f.state == core::fiber_state::parked && f.reason.in_call) core::wake(*f.wait, wait_result::ready);
      }
    }, nullptr);
  }
}

unsigned here() {
  core::worker_core& w = *core::this_worker();
  for (unsigned i = 0; i < w.runtime->count; ++i) {
    if (w.runtime->workers[i] == &w) return i;
  }
  return ~0u;
}

}  // namespace unit
