// Signal handlers of a linked program that interrupt the runtime itself: while one runs its thread has no fiber.
#include "lib/door/handlers.hpp"

#include <ucontext.h>

#include <cstdint>
#include <utility>

#include "lib/call/border.hpp"
#include "lib/door/whose_code.hpp"
#include "lib/fiber/park.hpp"

namespace bide::door {
namespace {

// Below which stack pointer, null: none. What a handler leaves behind by siglongjmp the next such call corrects. Read in a
// handler, so not to be allocated when first touched.
#define BIDE_THREADS_OWN constinit thread_local __attribute__((tls_model("initial-exec")))
BIDE_THREADS_OWN const char* as_it_is_below = nullptr;
BIDE_THREADS_OWN core::fiber* hidden = nullptr;

bool is_made_as_it_is(const greg_t* g) noexcept {
  constexpr std::uintptr_t deepest = 4096;
  return reinterpret_cast<std::uintptr_t>(as_it_is_below) - static_cast<std::uintptr_t>(g[REG_RSP]) < deepest;
}

// The runtime calls libc for memory, in functions without a frame, and for clocks.
[[gnu::no_sanitize("address")]] bool interrupts_runtime(const greg_t* g) noexcept {
  const auto at = static_cast<std::uintptr_t>(g[REG_RIP]);
  if (in_runtime(at)) return !is_made_as_it_is(g);
  const int frames = in_kernels_page(at) ? 32 : in_libc(at) ? 4 : 0;  // words
  const auto* const stack = reinterpret_cast<const std::uintptr_t*>(g[REG_RSP]);
  for (int i = 0; i < frames; ++i) {
    if (in_runtime(stack[i])) return true;
  }
  return false;
}

}  // namespace

as_it_is::as_it_is() noexcept { as_it_is_below = static_cast<const char*>(__builtin_frame_address(0)); }
as_it_is::~as_it_is() { as_it_is_below = nullptr; }

}  // namespace bide::door

extern "C" {

void bide_expect_handlers() noexcept { bide::door::learn_code(); }

bool bide_enter_handler(const void* machine) noexcept {
  bide::core::fiber* const me = bide::core::this_fiber();
  if (!me || !bide::door::interrupts_runtime(static_cast<const ucontext_t*>(machine)->uc_mcontext.gregs)) return false;
  bide::core::worker_core& here = *bide::core::this_worker();
  bide::door::hidden = me;
  here.current = &here.loop;
  return true;
}

void bide_leave_handler() noexcept {
  if (bide::core::fiber* const me = std::exchange(bide::door::hidden, nullptr)) bide::core::this_worker()->current = me;
}

}  // extern "C"
