#include <bide/this_fiber.hpp>

#include <bide/offload.hpp>
#include <bide/task.hpp>

#include <errno.h>

#include "lib/context/stack.hpp"
#include "lib/fiber/park.hpp"
#include "lib/io/offload.hpp"
#include "lib/sys/raw.hpp"
#include "lib/task/error.hpp"

namespace bide {

void yield() noexcept {
  if (core::fiber* me = core::this_fiber())
    core::yield(*me->home, *me);
  else
    sys::raw(SYS_sched_yield);
}

namespace this_fiber {

std::uint64_t id() noexcept {
  const core::fiber* me = core::this_fiber();
  return me ? me->id : 0;
}

std::string name() {
  const core::fiber* me = core::this_fiber();
  return me ? detail::fiber_name(me) : std::string();
}

std::size_t stack_peak() noexcept {
  const core::fiber* me = core::this_fiber();
  return me ? context::touched(me->stack) : 0;
}

}  // namespace this_fiber

namespace detail {

std::int64_t now_ns() noexcept { return base::now(); }

void sleep_until(deadline until) {
  if (until.ns() <= base::now()) return;
  core::waiter w(core::waiter::reach::home);
  const wait_result how = core::park(w, {"a time"}, until.ns(), core::cancel_point::yes);
  if (how != wait_result::expired) throw_ended(how);
}

void offload(void (*work)(void*), void* argument) {
  if (io::offload(work, argument, "an offloaded function") != 0)
    task_layer::fail(EAGAIN, "offload() can't start a thread; see ulimit -u");
}

}  // namespace detail

}  // namespace bide
