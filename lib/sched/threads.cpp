#include "lib/sched/threads.hpp"

#include <new>

#include "lib/base/arena.hpp"
#include "lib/base/spin.hpp"
#include "lib/sched/spare_stack.hpp"
#include "lib/sched/standing.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {
namespace {

constexpr std::uint32_t most_threads = 1 << 20, least_ids = 1 << 15;

std::atomic<std::uint32_t> registry_lock;
thread** registry = nullptr;         // guarded by registry_lock: by id - id_base; reserved, so mostly no memory
std::uint32_t id_base = 0;            // this process's
std::uint32_t next_index = 1;        // guarded by registry_lock; ids go round, as the kernel's do
std::uint32_t ids = least_ids;       // guarded by registry_lock: how many go round, so that the registry stays small
std::uint32_t taken = 0;             // guarded by registry_lock: places, by threads that have ended, too
std::uint32_t highest = 0;           // guarded by registry_lock: no id beyond was ever given
thread* first = nullptr;             // written by its home
std::atomic<std::uint32_t> live{0};

thread* make_record() noexcept {
  void* room = base::arena_allocate(sizeof(thread));
  return room ? ::new (room) thread : nullptr;
}

// Processes with pids near each other have ids far from each other: Fibonacci hashing.
std::uint32_t id_base_of(std::uint32_t pid) noexcept {
  const std::uint32_t room = 0x08000000 - most_threads;
  return first_thread_id + static_cast<std::uint32_t>((std::uint64_t{pid * 0x9e3779b1u} * room) >> 32);
}

// The lock must be held.
thread* find(std::uint32_t tid) noexcept {
  if (registry[0] && registry[0]->tid == tid) return registry[0];
  return tid > id_base && tid - id_base <= highest ? registry[tid - id_base] : nullptr;
}

// The lock must be held.
void advance() noexcept { next_index = next_index + 1 == ids ? 1 : next_index + 1; }

bool open_registry() noexcept {
  if (!registry) registry = static_cast<thread**>(base::reserve(most_threads * sizeof(thread*)));
  return registry != nullptr;
}

}  // namespace

thread* make_thread() noexcept {
  if (live.load(std::memory_order_relaxed) >= most_threads - 1) return nullptr;
  thread* t = make_record();
  if (!t) return nullptr;
  const base::spin_guard guard(registry_lock);
  if (++taken > ids / 2 && ids < most_threads) ids *= 2;
  while (registry[next_index]) advance();
  registry[next_index] = t;
  t->tid = id_base + next_index;
  if (next_index > highest) highest = next_index;
  advance();
  live.fetch_add(1, std::memory_order_relaxed);
  return t;
}

thread* make_main_thread() noexcept {
  thread* t = open_registry() ? make_record() : nullptr;
  if (!t) return nullptr;
  t->tid = static_cast<std::uint32_t>(sys::raw(SYS_getpid));
  id_base = id_base_of(t->tid);
  registry[0] = first = t;
  live.store(1, std::memory_order_relaxed);
  return t;
}

void end_thread(thread& t) noexcept {
  const base::spin_guard guard(registry_lock);
  t.ended = true;
  if (&t == first) first = nullptr;
  live.fetch_sub(1, std::memory_order_relaxed);
}

void free_thread(thread& t) noexcept {
  {
    const base::spin_guard guard(registry_lock);
    const std::uint32_t index = registry[0] == &t ? 0 : t.tid - id_base;
    registry[index] = nullptr;
    if (index) --taken;
  }
  let_go(t.stands);
  free_spare_stacks(t);
  base::arena_free(&t);
}

std::uint32_t live_threads() noexcept { return live.load(std::memory_order_relaxed); }

bool had_others() noexcept {
  const base::spin_guard guard(registry_lock);
  return highest > 0;
}

bool with_thread(std::uint32_t tid, void (*visit)(thread&, void*), void* argument) noexcept {
  const base::spin_guard guard(registry_lock);
  thread* const t = find(tid);
  if (!t || t->ended) return false;
  visit(*t, argument);
  return true;
}

bool will_clear(std::uint32_t tid, const std::uint32_t* word) noexcept {
  const base::spin_guard guard(registry_lock);
  const thread* const t = find(tid);
  return t && t->clear_tid == word;
}

bool any_thread(bool (*visit)(thread&, void*), void* argument) noexcept {
  const base::spin_guard guard(registry_lock);
  for (std::uint32_t i = 0; i <= highest; ++i) {
    if (registry[i] && !registry[i]->ended && visit(*registry[i], argument)) return true;
  }
  return false;
}

void threads_after_fork(thread& me) noexcept {
  registry_lock.store(0, std::memory_order_relaxed);
  // The others' records and stacks stay as they are, as other threads' stacks do.
  for (std::uint32_t i = 0; i <= highest; ++i) {
    if (registry[i]) registry[i] = nullptr;
  }
  registry[0] = first = &me;
  me.tid = static_cast<std::uint32_t>(sys::raw(SYS_getpid));
  id_base = id_base_of(me.tid);
  highest = taken = 0;
  next_index = 1;
  ids = least_ids;
  live.store(1, std::memory_order_relaxed);
}

thread* main_thread() noexcept { return first; }

}  // namespace bide::core
