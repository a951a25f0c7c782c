#include "lib/context/tools.hpp"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_STACK_REGISTER(low, high) 0
#endif

// sanitizer/common_interface_defs.h, asan_interface.h, lsan_interface.h and tsan_interface.h, weak.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake, const void* bottom, std::size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake, const void** bottom, std::size_t* size);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void*, std::size_t);
__attribute__((weak)) void __lsan_register_root_region(const void*, std::size_t);
__attribute__((weak)) void __lsan_unregister_root_region(const void*, std::size_t);
__attribute__((weak)) void* __tsan_get_current_fiber();
__attribute__((weak)) void* __tsan_create_fiber(unsigned flags);
__attribute__((weak)) void __tsan_destroy_fiber(void*);
__attribute__((weak)) void __tsan_switch_to_fiber(void*, unsigned flags);
}

namespace bide::context::tools {

bool present = &__sanitizer_start_switch_fiber || &__tsan_switch_to_fiber;

unsigned own_threads() noexcept { return __tsan_create_fiber ? 1 : 0; }

void stack_made([[maybe_unused]] const void* low, [[maybe_unused]] const void* high) noexcept {
  if (RUNNING_ON_VALGRIND) (void)VALGRIND_STACK_REGISTER(low, high);
}

void context_made(identity& me, const void* low, const void* high) noexcept {
  me.asan_fake_stack = nullptr;
  me.stack_bottom = low;
  me.stack_size = static_cast<const char*>(high) - static_cast<const char*>(low);
  // The stack may be a reused one, with redzones of frames that were never left.
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(low, me.stack_size);
  // What a parked fiber's frames point to is not lost.
  if (__lsan_register_root_region) __lsan_register_root_region(low, me.stack_size);
  if (__tsan_create_fiber) me.tsan_fiber = __tsan_create_fiber(0);
}

void context_gone(identity& me) noexcept {
  // One that was never started has no bounds.
  if (__lsan_unregister_root_region && me.stack_bottom) __lsan_unregister_root_region(me.stack_bottom, me.stack_size);
  me.stack_bottom = nullptr;
  if (__tsan_destroy_fiber && me.tsan_fiber) __tsan_destroy_fiber(me.tsan_fiber);
  me.tsan_fiber = nullptr;
}

void thread_gone(identity& me) noexcept {
  if (__lsan_unregister_root_region && me.stack_bottom) __lsan_unregister_root_region(me.stack_bottom, me.stack_size);
  me = {};
}

void context_is_thread(identity& me) noexcept {
  thread_gone(me);
  if (__tsan_get_current_fiber) me.tsan_fiber = __tsan_get_current_fiber();
}

BIDE_UNCOUNTED void before_switch(identity& from, identity& to, leaving how) noexcept {
  // A null place for the fake stack tells ASan to free it: the fiber will not come back.
  if (__sanitizer_start_switch_fiber) {
    __sanitizer_start_switch_fiber(how == leaving::for_ever ? nullptr : &from.asan_fake_stack, to.stack_bottom,
                                   to.stack_size);
  }
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(to.tsan_fiber, 0);
}

BIDE_UNCOUNTED void after_switch(identity& me, identity& from) noexcept {
  if (!__sanitizer_finish_switch_fiber) return;
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(me.asan_fake_stack, &bottom, &size);
  // The thread's own stack has bounds that only ASan knows; it tells them to whoever comes from there.
  if (!from.stack_bottom) {
    from.stack_bottom = bottom;
    from.stack_size = size;
    // Nor is what its frames point to lost, should a fiber exit.
    if (__lsan_register_root_region) __lsan_register_root_region(bottom, size);
  }
}

}  // namespace bide::context::tools
