// What the kernel does at a thread's end, set_robust_list(2), is done here at a fiber's, with the same list: libc keeps what the
// kernel thread holds there, all its fibers together.
#include "lib/door/robust.hpp"

#include <bide/fiber_local.hpp>
#include <limits.h>
#include <linux/futex.h>

#include <cstddef>

#include "lib/door/holder.hpp"
#include "lib/door/locks.hpp"

namespace bide::door {
namespace {

// glibc's links lead to a mutex's own second link. Bit 0 marks a mutex whose owner inherits priority; that one is the kernel's.
constexpr std::size_t link_at = offsetof(pthread_mutex_t, __data.__list.__next);
robust_list* plain(const void* link) noexcept {
  return reinterpret_cast<robust_list*>(reinterpret_cast<std::uintptr_t>(link) & ~std::uintptr_t{1});
}
__pthread_internal_list& links(robust_list* link) noexcept {
  return *reinterpret_cast<__pthread_internal_list*>(reinterpret_cast<char*>(link) - offsetof(__pthread_internal_list, __next));
}

void leave_to_next(robust_list_head& all, robust_list* link, pthread_mutex_t* mutex) noexcept {
  __pthread_internal_list& mine = mutex->__data.__list;
  // Should the process end meanwhile, the kernel finds it here.
  __atomic_store_n(&all.list_op_pending, link, __ATOMIC_SEQ_CST);
  links(plain(mine.__next)).__prev = mine.__prev;
  links(plain(mine.__prev)).__next = mine.__next;
  mine.__prev = mine.__next = nullptr;
  int now = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&mutex->__data.__lock, &now, (now & static_cast<int>(FUTEX_WAITERS)) | FUTEX_OWNER_DIED,
                                      true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
  __atomic_store_n(&all.list_op_pending, nullptr, __ATOMIC_SEQ_CST);
  if (now & static_cast<int>(FUTEX_WAITERS)) raw(SYS_futex, &mutex->__data.__lock, FUTEX_WAKE, 1);
  tell_waiters(mutex, 1);
}

void leave_all(void*) noexcept {
  robust_list_head* all = nullptr;
  std::size_t size = 0;
  if (sys::failed(raw(SYS_get_robust_list, 0, &all, &size)) || !all) return;
  for (robust_list* link = all->list.next; plain(link) != &all->list;) {
    robust_list* const next = plain(link)->next;
    auto* const mutex = reinterpret_cast<pthread_mutex_t*>(reinterpret_cast<char*>(plain(link)) - link_at);
    if (held_mutex held(mutex); plain(link) == link && held.number() == my_number()) {
      held.note(0);
      leave_to_next(*all, link, mutex);
    }
    link = next;
  }
}

}  // namespace

void has_robust_mutex() noexcept {
  static const std::uint64_t key = detail::new_local_key();
  static char noted;
  if (detail::find_local(key)) return;
  try {
    detail::keep_local(key, &noted, leave_all);
  } catch (...) {
  }
}

}  // namespace bide::door
