#include "lib/sync/futex.hpp"

#include <errno.h>
#include <linux/futex.h>

#include <atomic>

#include "asm/trap.h"
#include "lib/base/arena.hpp"
#include "lib/base/assert.hpp"
#include "lib/base/race.hpp"
#include "lib/sync/wait_list.hpp"
#include "lib/sys/raw.hpp"

namespace bide::sync {
namespace {

#ifdef BIDE_PRELOAD
constexpr auto cancel_here = core::cancel_point::yes;
#else
constexpr auto cancel_here = core::cancel_point::if_new;
#endif

constexpr int bucket_shift = 14;  // 16,384 buckets: 100,000 waiters are six to a bucket

// Stands on the waiting fiber's stack.
struct place : wait_node {
  place(core::waiter& w, futex_word& at, futex_word which) noexcept : wait_node(w), word(&at), bits(which) {}
  explicit place(futex_word& at) noexcept : word(&at), bits(any_bit) {}  // not waiting yet
  std::atomic<futex_word*> word;  // changed by a requeue, under the locks of both buckets
  const futex_word bits;
};

struct bucket {
  wait_list all;
};

std::atomic<bucket*> table;  // reserved at the first wait: most of it stays no memory

bucket* buckets() noexcept {
  bucket* there = table.load(std::memory_order_acquire);
  if (there) return there;
  constexpr std::size_t bytes = sizeof(bucket) << bucket_shift;
  auto* fresh = static_cast<bucket*>(base::reserve(bytes));
  BIDE_ASSERT(fresh, "there is no address space for the table of futexes");
  if (table.compare_exchange_strong(there, fresh, std::memory_order_acq_rel)) return fresh;
  sys::raw(SYS_munmap, fresh, bytes);
  return there;
}

wait_list& list_of(const futex_word* word) noexcept {
  // Fibonacci hashing: the high bits of a product with 2^64 / phi.
  const auto hash = (reinterpret_cast<std::uintptr_t>(word) >> 2) * 0x9e3779b97f4a7c15;
  return buckets()[hash >> (64 - bucket_shift)].all;
}

std::atomic_ref<futex_word> atomic(futex_word& word) noexcept { return std::atomic_ref<futex_word>(word); }

// Two buckets, locked in the order of their addresses; they may be one.
class both_locked {
 public:
  both_locked(wait_list& a, wait_list& b) noexcept : low_(&a < &b ? a : b), high_(&a < &b ? b : a) {
    base::spin_lock(low_.lock);
    if (&low_ != &high_) base::spin_lock(high_.lock);
  }
  ~both_locked() {
    if (&low_ != &high_) base::spin_unlock(high_.lock);
    base::spin_unlock(low_.lock);
  }
  both_locked(const both_locked&) = delete;

 private:
  wait_list &low_, &high_;
};

// The list is locked. One whose wait has ended otherwise takes itself off and counts for nothing.
long wake_locked(wait_list& list, futex_word& word, long count, futex_word bits) noexcept {
  long woken = 0;
  for (wait_node* n = list.head; n && woken < count;) {
    auto& p = static_cast<place&>(*n);
    n = n->next;
    if (p.word.load(std::memory_order_relaxed) != &word || !(p.bits & bits)) continue;
    take_off(list, p);
    if (!p.who || core::wake(*p.who, wait_result::ready)) ++woken;
  }
  return woken;
}

bool waits_locked(wait_list& list, futex_word& word) noexcept {
  for (wait_node* n = list.head; n; n = n->next) {
    if (static_cast<place*>(n)->word.load(std::memory_order_relaxed) == &word) return true;
  }
  return false;
}

// After a wait: a place that is off its list was woken, whatever else ended the wait. A requeue may move it meanwhile.
bool was_woken(place& p) noexcept {
  for (;;) {
    futex_word* const word = p.word.load(std::memory_order_acquire);
    wait_list& list = list_of(word);
    const base::spin_guard guard(list.lock);
    if (p.word.load(std::memory_order_relaxed) != word) continue;
    if (!p.on) return true;
    take_off(list, p);
    return false;
  }
}

// Enlisted under `list`'s lock, which it lets go.
long wait_locked(wait_list& list, place& p, std::int64_t until) noexcept {
  base::spin_unlock(list.lock);
  base::race_point();
  const wait_result how = core::park(*p.who, {"a futex", -1, true}, until, cancel_here);
  const bool woken = was_woken(p);
#ifndef BIDE_PRELOAD
  if (how == wait_result::cancelled) core::keep_cancel(*p.who->who);
#endif
  if (woken) return 0;
  return how == wait_result::expired ? -ETIMEDOUT : -EINTR;
}

}  // namespace

long futex_wait(futex_word& word, futex_word expected, futex_word bits, std::int64_t until) noexcept {
  core::waiter w(core::waiter::reach::anyone);
  place p(w, word, bits);
  wait_list& list = list_of(&word);
  base::race_point();
  base::spin_lock(list.lock);
  push_back(list, p);
  // After the enlisting: a waker that changes the word and finds the list empty has changed it before this load.
  if (atomic(word).load(std::memory_order_seq_cst) != expected && base::kept(base::protection::check_enlisted)) {
    take_off(list, p);
    base::spin_unlock(list.lock);
    return -EAGAIN;
  }
  return wait_locked(list, p, until);
}

long futex_wake(futex_word& word, long count, futex_word bits) noexcept {
  wait_list& list = list_of(&word);
  const base::spin_guard guard(list.lock);
  return wake_locked(list, word, count, bits);
}

namespace {

long requeue_locked(wait_list& from, futex_word& word, long count, wait_list& to_list, futex_word& to, long more) noexcept {
  const long woken = wake_locked(from, word, count, any_bit);
  long moved = 0;
  for (wait_node* n = from.head; n && moved < more;) {
    auto& p = static_cast<place&>(*n);
    n = n->next;
    if (p.word.load(std::memory_order_relaxed) != &word) continue;
    take_off(from, p);
    p.word.store(&to, std::memory_order_release);
    push_back(to_list, p);
    ++moved;
    if (&from == &to_list && !n) break;  // the tail is what has just been moved
  }
  return woken + moved;
}

}  // namespace

long futex_requeue(futex_word& word, long count, futex_word& to, long more) noexcept {
  wait_list &from = list_of(&word), &there = list_of(&to);
  const both_locked guard(from, there);
  return requeue_locked(from, word, count, there, to, more);
}

long futex_requeue_if(futex_word& word, long count, futex_word& to, long more, futex_word expected) noexcept {
  wait_list &from = list_of(&word), &there = list_of(&to);
  const both_locked guard(from, there);
  if (atomic(word).load(std::memory_order_seq_cst) != expected) return -EAGAIN;
  return requeue_locked(from, word, count, there, to, more);
}

long futex_wake_op(futex_word& word, long count, futex_word& to, long more, futex_word operation) noexcept {
  const int what = operation >> 28 & 7, comparison = operation >> 24 & 15;
  int argument = static_cast<int>(operation << 8) >> 20;
  const int compared = static_cast<int>(operation << 20) >> 20;
  if (operation >> 28 & FUTEX_OP_OPARG_SHIFT) argument = 1 << (argument & 31);
  const auto mask = static_cast<futex_word>(argument);
  wait_list &from = list_of(&word), &there = list_of(&to);
  const both_locked guard(from, there);
  futex_word before;
  switch (what) {
    case FUTEX_OP_SET: before = atomic(to).exchange(mask); break;
    case FUTEX_OP_ADD: before = atomic(to).fetch_add(mask); break;
    case FUTEX_OP_OR: before = atomic(to).fetch_or(mask); break;
    case FUTEX_OP_ANDN: before = atomic(to).fetch_and(~mask); break;
    case FUTEX_OP_XOR: before = atomic(to).fetch_xor(mask); break;
    default: return -ENOSYS;
  }
  const int old = static_cast<int>(before);
  bool holds;
  switch (comparison) {
    case FUTEX_OP_CMP_EQ: holds = old == compared; break;
    case FUTEX_OP_CMP_NE: holds = old != compared; break;
    case FUTEX_OP_CMP_LT: holds = old < compared; break;
    case FUTEX_OP_CMP_GE: holds = old >= compared; break;
    case FUTEX_OP_CMP_LE: holds = old <= compared; break;
    case FUTEX_OP_CMP_GT: holds = old > compared; break;
    default: return -ENOSYS;
  }
  long woken = wake_locked(from, word, count, any_bit);
  if (holds) woken += wake_locked(there, to, more, any_bit);
  return woken;
}

#ifndef BIDE_PRELOAD
long futex_wait_any(futex_word& word, int (*let_go)(void*), void* argument, std::int64_t until, core::cancel_point point,
                    core::wait_reason why) noexcept {
  core::waiter w(core::waiter::reach::anyone);
  place p(word);
  wait_list& list = list_of(&word);
  {
    const base::spin_guard guard(list.lock);
    push_back(list, p);
  }
  const int error = let_go(argument);
  bool woken;
  {
    const base::spin_guard guard(list.lock);
    woken = !p.on;
    p.who = &w;
    if (error && !woken) take_off(list, p);
    if (error && woken) wake_locked(list, word, 1, any_bit);  // it was another's
  }
  if (error || woken) return error;
  const wait_result how = core::park(w, why, until, point);
  if (how == wait_result::ready) return 0;
  const base::spin_guard guard(list.lock);
  if (p.on) take_off(list, p);
  return how == wait_result::cancelled ? -ECANCELED : -ETIMEDOUT;
}
#endif

// User space takes a free word and gives one back that nobody waits for by compare-and-swap, without the lock: so every
// change here is one too. FUTEX_WAITERS is set before the enlisting and under the lock, so an unlock comes here.
long futex_lock_owned(futex_word& word, futex_word me, std::int64_t until) noexcept {
  for (;;) {
    core::waiter w(core::waiter::reach::anyone);
    place p(w, word, any_bit);
    wait_list& list = list_of(&word);
    base::spin_lock(list.lock);
    futex_word now = atomic(word).load(std::memory_order_seq_cst);
    if ((now & FUTEX_TID_MASK) == me) {
      base::spin_unlock(list.lock);
      return -EDEADLK;
    }
    const bool free = !(now & FUTEX_TID_MASK);
    const futex_word wanted = free ? me | (now & FUTEX_OWNER_DIED) | (waits_locked(list, word) ? FUTEX_WAITERS : 0)
                                   : now | FUTEX_WAITERS;
    if (!atomic(word).compare_exchange_strong(now, wanted, std::memory_order_seq_cst)) {
      base::spin_unlock(list.lock);
      continue;
    }
    if (free) {
      base::spin_unlock(list.lock);
      return 0;
    }
    push_back(list, p);
    const long end = wait_locked(list, p, until);
    if (end) return end;
  }
}

long futex_try_owned(futex_word& word, futex_word me) noexcept {
  wait_list& list = list_of(&word);
  const base::spin_guard guard(list.lock);
  futex_word now = atomic(word).load(std::memory_order_seq_cst);
  if ((now & FUTEX_TID_MASK) == me) return -EDEADLK;
  if (now & FUTEX_TID_MASK) return -EAGAIN;
  const futex_word wanted = me | (now & FUTEX_OWNER_DIED) | (waits_locked(list, word) ? FUTEX_WAITERS : 0);
  return atomic(word).compare_exchange_strong(now, wanted, std::memory_order_seq_cst) ? 0 : -EAGAIN;
}

long futex_unlock_owned(futex_word& word, futex_word me) noexcept {
  wait_list& list = list_of(&word);
  const base::spin_guard guard(list.lock);
  if ((atomic(word).load(std::memory_order_seq_cst) & FUTEX_TID_MASK) != me) return -EPERM;
  // Free, and the first waiter may take it, as may any other that is quicker. While it is held nobody else changes it
  // but to set FUTEX_WAITERS, which is done under this lock.
  atomic(word).store(0, std::memory_order_seq_cst);
  wake_locked(list, word, 1, any_bit);
  return 0;
}

#ifdef BIDE_PRELOAD
namespace {

// Where our own don't go on, all waiters are woken: one of ours might get the only wake, and end with it.
void release_one(void* at, futex_word tid, bool ours_go_on) noexcept {
  auto& word = *static_cast<futex_word*>(at);
  futex_word now;
  if (bide_copy(&now, at, sizeof now) != 0) return;
  do {
    if ((now & FUTEX_TID_MASK) != tid) return;
  } while (!atomic(word).compare_exchange_weak(now, (now & FUTEX_WAITERS) | FUTEX_OWNER_DIED, std::memory_order_seq_cst));
  if (!(now & FUTEX_WAITERS)) return;
  if (ours_go_on) futex_wake(word, 1);
  sys::raw(SYS_futex, &word, FUTEX_WAKE, ours_go_on ? 1 : INT32_MAX);  // those of other processes
}

void release_list(robust_list_head* head, futex_word tid, bool ours_go_on) noexcept {
  constexpr int most = 2048;
  // Bit 0 of a link marks a word with an owner's priority.
  const auto plain = [](robust_list* entry) {
    return reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(entry) & ~std::uintptr_t{1});
  };
  robust_list_head list;
  if (bide_copy(&list, head, sizeof list) != 0) return;
  robust_list* entry = list.list.next;
  for (int n = 0; plain(entry) != reinterpret_cast<char*>(&head->list) && n < most; ++n) {
    robust_list next;  // read first: the word may be gone
    if (bide_copy(&next, plain(entry), sizeof next) != 0) return;
    if (entry != list.list_op_pending) release_one(plain(entry) + list.futex_offset, tid, ours_go_on);
    entry = next.next;
  }
  if (list.list_op_pending) release_one(plain(list.list_op_pending) + list.futex_offset, tid, ours_go_on);
}

}  // namespace

// The kernel documentation, "robust futex ABI": at most so many, in case the list is a circle.
void release_robust_list(robust_list_head* head, futex_word tid) noexcept { release_list(head, tid, true); }
void leave_robust_list(robust_list_head* head, futex_word tid) noexcept { release_list(head, tid, false); }
#endif

void futex_after_fork() noexcept {
  bucket* there = table.load(std::memory_order_relaxed);
  for (std::size_t i = 0; there && i < std::size_t{1} << bucket_shift; ++i) {
    if (!there[i].all.head && there[i].all.lock.load(std::memory_order_relaxed) == 0) continue;
    there[i].all.head = there[i].all.tail = nullptr;
    there[i].all.lock.store(0, std::memory_order_relaxed);
  }
}

}  // namespace bide::sync
