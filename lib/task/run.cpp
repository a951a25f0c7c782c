#include <bide/run.hpp>

#include <errno.h>

#include <string>

#include "lib/base/clock.hpp"
#include "lib/base/number.hpp"
#include "lib/context/stack.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/fork.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/raw.hpp"
#include "lib/task/entrance.hpp"
#include "lib/task/error.hpp"
#include "lib/task/locals.hpp"
#include "lib/task/open.hpp"

namespace bide::detail {
namespace {

using task_layer::fail;

void check(const options& o) {
  if (o.workers < 1 || o.workers > core::most_workers)
    fail(EINVAL, "options::workers is " + std::to_string(o.workers) + "; it must be 1 to " +
                     std::to_string(core::most_workers));
  if (!context::round_stack_size(o.stack_size))
    fail(EINVAL, "options::stack_size is " + std::to_string(o.stack_size) + " bytes; it must be 16 KiB to 1 GiB");
  if (o.offload_threads < 1 || o.offload_threads > 4096)
    fail(EINVAL, "options::offload_threads is " + std::to_string(o.offload_threads) + "; it must be 1 to 4096");
}

// What to do about a worker that can't be made.
const char* hint(int error) {
  switch (error) {
    case EMFILE: case ENFILE: return "no descriptors are left for the loop; see ulimit -n";
    case ENOSPC: return "no more descriptors can be watched; see /proc/sys/fs/epoll/max_user_watches";
    case EAGAIN: return "64 workers are running in this process already";
    case EINVAL: return "libev has no back end of those that LIBEV_FLAGS asks for";
    case ENOSYS: return "a stepped runtime needs epoll; see LIBEV_FLAGS";
    default: return "no memory or address space is left";
  }
}

}  // namespace
}  // namespace bide::detail

namespace bide::task_layer {

void open(core::runtime& rt, const options& how) {
  detail::check(how);
  core::watch_forks();
  options rounded = how;
  rounded.stack_size = context::round_stack_size(how.stack_size);
  if (rt.stepped && how.seed) fail(EINVAL, "options::seed with bide::stepped: in what order its fibers run is what its steps are for");
  if (!rt.stepped && !how.seed) rounded.seed = base::number_in_environment("BIDE_SEED", 0, 0, base::never);
  if (rounded.seed) rounded.workers = 1;
  // Time is the process's: who else goes by it would wait for what only a seeded runtime's fibers bring about.
  if (base::shown_time() || (rounded.seed && core::runtimes()))
    fail(EBUSY, "a seeded runtime and another at the same time; see options::seed");
  if (const int error = rt.open(rounded)) fail(-error, std::string("a runtime can't make a worker: ") + detail::hint(-error));
}

}  // namespace bide::task_layer

namespace bide::detail {
namespace {

struct first_frame {
  void (*body)(void*);
  void* argument;
};

}  // namespace

bool on_fiber() noexcept { return core::this_fiber() != nullptr; }

void run_runtime(const options& how, void (*body)(void*), void* argument) {
  if (core::this_worker())
    fail(EPERM, "run() was called on a worker outside any fiber, in a signal handler or a destructor of the runtime's");
  core::runtime rt;
  task_layer::open(rt, how);
  auto way = std::make_shared<entrance>(rt);
  rt.entrance = &way;
  first_frame first{body, argument};
  core::worker& home = *rt.workers[0];
  core::fiber* main = core::make_fiber(home, rt.how.stack_size);
  if (!main) {
    way->shut();
    rt.close();
    fail(ENOMEM, "run() can't get a stack of " + std::to_string(rt.how.stack_size) + " bytes for the first fiber");
  }
  main->name_text = "main";
  main->name_length = 4;
  main->released = true;
  main->frame = &first;
  main->body = [](void* p) {
    auto& f = *static_cast<first_frame*>(p);
    f.body(f.argument);
    task_layer::destroy_locals(*core::this_fiber());
    core::runtime& mine = *core::this_worker()->runtime;
    (*static_cast<std::shared_ptr<entrance>*>(mine.entrance))->shut();
    mine.main = nullptr;
    mine.begin_closing();
  };
  rt.main = main;
  // The thread isn't a worker yet, so the start is posted and delivered first of all.
  core::start(*main, home, reinterpret_cast<char*>(main));
  rt.run();
  way->shut();  // the first fiber's end did, unless this is the child of a fork
  rt.close();
  core::leave_if_last_after_fork(rt);
  if (rt.stuck.load())
    fail(EDEADLK, "every fiber was parked and nothing was left that could wake one; they were cancelled");
}

}  // namespace bide::detail
