#include <errno.h>

#include <bide/shield.hpp>
#include <bide/stop.hpp>
#include <bide/timeout.hpp>

#include "lib/base/assert.hpp"
#include "lib/fiber/park.hpp"
#include "lib/task/error.hpp"

namespace bide::detail {

void enter_scope(scope& s) {
  core::fiber* me = core::this_fiber();
  if (!me) task_layer::fail(EPERM, "timeout outside a fiber: make it inside bide::run()");
  core::enter(*me, s);
}

void leave_scope(scope& s) noexcept {
  core::fiber* me = core::this_fiber();
  BIDE_ASSERT(me, "a timeout was left outside its fiber");
  core::leave(*me, s);
}

shield_scope::shield_scope() noexcept : who_(core::this_fiber()) {
  if (who_) core::enter(*who_, scope_);
}
shield_scope::~shield_scope() {
  if (who_) core::leave(*who_, scope_);
}

fiber* fiber_to_stop() {
  core::fiber* me = core::this_fiber();
  if (!me) task_layer::fail(EPERM, "cancel_on_stop outside a fiber: make it inside bide::run()");
  return me;
}

void settle_requests() noexcept { core::settle_requests(); }

}  // namespace bide::detail
