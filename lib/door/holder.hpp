// Which fiber holds a lock of libc's.
//
// By libc's lights a kernel thread does, and all fibers of a worker are one. So a fiber that takes a lock leaves its number there,
// in bytes that glibc keeps for other kinds (2.31 to 2.42), and takes it out before it lets go. libc still tells kernel threads
// apart; the number tells fibers of one.
#pragma once

#include <linux/futex.h>
#include <pthread.h>

#include <cstdint>

#include "lib/door/door.hpp"

namespace bide::door {

// The running fiber's. It comes again after four thousand million fibers, as a thread's id does after four million threads.
inline std::uint32_t my_number() noexcept {
  const auto number = static_cast<std::uint32_t>(core::this_fiber()->id);
  return number ? number : 1;
}

// Of a lock that processes share: the number may be that of another one's fiber.
inline bool is_this_thread(unsigned tid) noexcept { return static_cast<long>(tid) == raw(SYS_gettid); }

// A mutex of a kind whose holder libc asks for.
class held_mutex {
 public:
  explicit held_mutex(pthread_mutex_t* m) noexcept
      : it_(m->__data), kind_(__atomic_load_n(&m->__data.__kind, __ATOMIC_RELAXED)) {}

  // Of the others anybody may let go, and who holds one waits for himself.
  bool has_holder() const noexcept {
    return type() == PTHREAD_MUTEX_RECURSIVE_NP || type() == PTHREAD_MUTEX_ERRORCHECK_NP || (kind_ & (robust | inherits));
  }
  // Goes to the next at its holder's end.
  bool is_robust() const noexcept { return kind_ & robust; }
  bool refuses_holder() const noexcept { return type() == PTHREAD_MUTEX_ERRORCHECK_NP; }
  bool is_mine() const noexcept { return number() == my_number() && (!(kind_ & shared) || is_this_thread(thread())); }
  bool is_anothers() const noexcept {
    const std::uint32_t holder = number();
    return holder && holder != my_number() && !((kind_ & robust) && (word() & FUTEX_OWNER_DIED));
  }
  bool is_left_to_thread() const noexcept { return number() && is_this_thread(thread()); }
  // Whether letting go once leaves it to others.
  bool is_held_once() const noexcept { return type() != PTHREAD_MUTEX_RECURSIVE_NP || it_.__count <= 1; }

  std::uint32_t number() const noexcept { return __atomic_load_n(place(), __ATOMIC_RELAXED); }
  void note(std::uint32_t holder) noexcept { __atomic_store_n(place(), holder, __ATOMIC_RELAXED); }

 private:
  static constexpr int robust = 16, inherits = 32, shared = 128;  // of __kind

  int type() const noexcept { return kind_ & 3; }
  unsigned word() const noexcept { return static_cast<unsigned>(__atomic_load_n(&it_.__lock, __ATOMIC_RELAXED)); }
  unsigned thread() const noexcept {
    if (kind_ & (robust | inherits)) return word() & FUTEX_TID_MASK;
    return static_cast<unsigned>(__atomic_load_n(&it_.__owner, __ATOMIC_RELAXED));
  }
  // The counts for spinning and for elision, which only kinds without a holder have.
  std::uint32_t* place() const noexcept {
    static_assert(offsetof(__pthread_mutex_s, __elision) == offsetof(__pthread_mutex_s, __spins) + 2);
    return reinterpret_cast<std::uint32_t*>(&it_.__spins);
  }
  __pthread_mutex_s& it_;
  const int kind_;
};

// Who writes under a read-write lock. Readers aren't known to libc either.
class writer {
 public:
  explicit writer(pthread_rwlock_t* l) noexcept : it_(l->__data) {}

  bool is_me() const noexcept {
    return number() == my_number() &&
           (!it_.__shared || is_this_thread(static_cast<unsigned>(__atomic_load_n(&it_.__cur_writer, __ATOMIC_RELAXED))));
  }
  void note(std::uint32_t holder) noexcept {
    if (number() != holder) __atomic_store_n(&it_.__pad3, holder, __ATOMIC_RELAXED);
  }

 private:
  std::uint32_t number() const noexcept { return __atomic_load_n(&it_.__pad3, __ATOMIC_RELAXED); }

  __pthread_rwlock_arch_t& it_;
};

}  // namespace bide::door
