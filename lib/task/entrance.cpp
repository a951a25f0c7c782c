#include "lib/task/entrance.hpp"

#include <errno.h>

#include <bide/runtime.hpp>

#include "lib/fiber/park.hpp"
#include "lib/sys/raw.hpp"
#include "lib/task/error.hpp"
#include "lib/task/prepare.hpp"

namespace bide::detail {

void entrance::shut() noexcept {
  state_.fetch_or(shut_bit, std::memory_order_acq_rel);
  while (state_.load(std::memory_order_acquire) != shut_bit) {
    const timespec a_moment{0, 50'000};
    sys::raw(SYS_nanosleep, &a_moment, nullptr);
  }
}

std::shared_ptr<entrance> entrance_here() noexcept {
  if (!core::this_fiber()) return nullptr;
  return *static_cast<std::shared_ptr<entrance>*>(core::this_worker()->runtime->entrance);
}

std::shared_ptr<entrance> this_entrance() {
  auto here = entrance_here();
  if (!here) task_layer::fail(EPERM, "runtime_handle::current() outside a fiber");
  return here;
}

bool is_open(const entrance* e) noexcept { return e->open(); }

fiber* prepare_fiber_at(entrance* e, const spawn_options& how, std::size_t size, std::size_t align, void** room) {
  core::runtime* rt = e ? e->enter() : nullptr;
  if (!rt) task_layer::fail(EPERM, "spawn(): the runtime has ended, or is about to");
  try {
    return task_layer::prepare(*rt->workers[0], how, size, align, room);
  } catch (...) {
    e->leave();
    throw;
  }
}

void abandon_fiber_at(entrance* e, fiber* f) noexcept {
  core::recycle(*f);
  e->leave();
}

void start_fiber_at(entrance* e, fiber* f, frame* placed) noexcept {
  core::worker_core* mine = core::this_worker();
  core::runtime& rt = *f->home->runtime;
  const bool inside = mine && mine->runtime == &rt;
  core::worker_core& home = inside ? rt.least_loaded(*mine, core::prefer::home)
                                   : rt.least_loaded(*rt.workers[0], core::prefer::balance);
  task_layer::start(home, f, placed);
  e->leave();
}

}  // namespace bide::detail
