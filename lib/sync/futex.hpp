// Futexes among fibers: who waits for a word in memory, by its address. futex(2) names the operations.
//
// A waiter enlists and compares under the lock of its address's bucket, and wakers look under the same lock, so no wake
// falls between a comparison and the wait. Words that other processes may share are the kernel's business (call/futex.cpp).
#pragma once

#include <cstdint>

#include "lib/fiber/park.hpp"

struct robust_list_head;

namespace bide::sync {

using futex_word = std::uint32_t;

inline constexpr futex_word any_bit = ~futex_word{0};

// Waits while the word holds `expected`. Returns 0, -EAGAIN (it holds another value), -ETIMEDOUT, or -EINTR, which may be
// for nothing: a linked fiber's wait ends so once for a cancel or a deadline that comes meanwhile, and the cancel is kept. Who
// calls only ever asks again, or aborts.
long futex_wait(futex_word& word, futex_word expected, futex_word bits, std::int64_t until) noexcept;

// Wakes those who wait with one of `bits`, at most `count`. Returns how many.
long futex_wake(futex_word& word, long count, futex_word bits = any_bit) noexcept;

// Wakes `count` who wait for the word and has at most `more` others wait for `to` instead. Returns how many of both.
long futex_requeue(futex_word& word, long count, futex_word& to, long more) noexcept;
// The same if the word still holds `expected`; else -EAGAIN.
long futex_requeue_if(futex_word& word, long count, futex_word& to, long more, futex_word expected) noexcept;

// Changes `to` as the kernel's FUTEX_OP says; wakes `count` at the word, and `more` at `to` if its old value compares.
// Returns how many, or -ENOSYS for an operation there is not.
long futex_wake_op(futex_word& word, long count, futex_word& to, long more, futex_word operation) noexcept;

#ifndef BIDE_PRELOAD
// Waits for a wake at `word`, whatever it holds. `let_go` runs once a wake would find the caller; what it returns, unless 0,
// is the answer, and there is no wait. Returns 0, -ETIMEDOUT or -ECANCELED.
long futex_wait_any(futex_word& word, int (*let_go)(void*), void* argument, std::int64_t until, core::cancel_point,
                    core::wait_reason) noexcept;
#endif

// The words that hold their owner's thread id. Priorities are not inherited: fibers have none.
long futex_lock_owned(futex_word& word, futex_word me, std::int64_t until) noexcept;
long futex_try_owned(futex_word& word, futex_word me) noexcept;
long futex_unlock_owned(futex_word& word, futex_word me) noexcept;

// The end of a thread: the locks on its list that it still holds go to others, with FUTEX_OWNER_DIED.
void release_robust_list(robust_list_head*, futex_word tid) noexcept;
// The same at the end of the process: to other processes. The thread may still run, on another worker.
void leave_robust_list(robust_list_head*, futex_word tid) noexcept;

// The child of a fork: nobody else waits.
void futex_after_fork() noexcept;

}  // namespace bide::sync
