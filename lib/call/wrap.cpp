// Wrappers around calls. A number that has some has one of `entries` in the table, which nothing else pays for.
//
// A call takes hold of its wrappers all at once when it comes, so that they may be removed while it is in them.
#include "lib/call/wrap.hpp"

#include <bide/calls.h>
#include <errno.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "lib/base/arena.hpp"
#include "lib/base/spin.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sys/raw.hpp"
#ifdef BIDE_PRELOAD
#include "lib/call/serve.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/threads.hpp"
#endif

struct bide_wrapper {
  long number;
  bide_wrapper_function* function;
  void* data;
  void (*release)(void*);
  unsigned long fiber;
  unsigned holds = 1;            // calls in it, and 1 until it is removed; guarded by lock
  bide_wrapper* next = nullptr;  // further in; guarded by lock
};

namespace bide::call {
namespace {

constexpr unsigned most = 16;

constinit std::atomic<std::uint32_t> lock{0};
constinit std::array<bide_wrapper*, numbers> outermost{};  // guarded by lock

// On the way between the program's code and ours, in a preloaded program; elsewhere there is no such border.
#ifdef BIDE_PRELOAD
class in_runtime {
 public:
  in_runtime() noexcept : enters_(context::doors_open && context::this_block().worker && !context::this_block().inside) {
    if (enters_) context::this_block().inside = 1;
  }
  ~in_runtime() {
    if (enters_) leave(*core::this_thread(), nullptr, nullptr, nullptr);
  }
  in_runtime(const in_runtime&) = delete;

 private:
  const bool enters_;
};
class in_program {
 public:
  in_program() : left_(context::doors_open && context::this_block().worker && context::this_block().inside) {
    if (left_) leave(*core::this_thread(), nullptr, nullptr, nullptr);
  }
  ~in_program() {
    if (left_) context::this_block().inside = 1;
  }
  in_program(const in_program&) = delete;

 private:
  const bool left_;
};
unsigned long number_of(const core::fiber& f) noexcept { return f.tid; }
#else
struct in_runtime {
  in_runtime() noexcept {}
};
struct in_program {
  in_program() noexcept {}
};
unsigned long number_of(const core::fiber& f) noexcept { return f.id; }
#endif

// The last hold is gone: nobody can find it any more.
void drop(bide_wrapper* w) {
  const in_program release_may_do_anything;
  if (w->release) w->release(w->data);
  base::arena_free(w);
}

bool let_go(bide_wrapper* w) noexcept {
  const base::spin_guard guard(lock);
  return --w->holds == 0;
}

// A call and the wrappers it passes. Its end may be an unwinding: a thread that is cancelled.
struct passage : bide_passing_call {
  passage(long nr, const long (&words)[6], core::fiber& f) : bide_passing_call{nr, {}, number_of(f)}, who(f) {
    std::copy_n(words, 6, arguments);
    const base::spin_guard guard(lock);
    for (bide_wrapper* w = outermost[static_cast<std::size_t>(nr)]; w; w = w->next) {
      if (w->fiber && w->fiber != fiber) continue;
      ++w->holds;
      wrappers[count++] = w;
    }
    who.in_wrapper = true;
  }
  ~passage() {
    who.in_wrapper = false;
    for (unsigned i = 0; i < count; ++i)
      if (let_go(wrappers[i])) drop(wrappers[i]);
  }
  passage(const passage&) = delete;

  core::fiber& who;
  bide_wrapper* wrappers[most];
  unsigned count = 0, at = 0;
};

long step(passage& p) {
  if (p.at == p.count) return beneath_wrappers(p.number, p.arguments);
  const unsigned here = p.at;
  const bide_wrapper& w = *p.wrappers[p.at++];
  const in_program wrapper;
  const int error = errno;  // of the program, which sees what its call answers
  const long answer = w.function(&p, w.data);
  errno = error;
  p.at = here;  // who goes on twice comes here twice
  return answer;
}

long pass(long nr, const long (&words)[6]) {
  core::fiber* const me = core::this_fiber();
  if (!me || me->in_wrapper) return beneath_wrappers(nr, words);
  passage p(nr, words, *me);
  return step(p);
}

template <long nr>
long entry_of(long a, long b, long c, long d, long e, long f) {
  return pass(nr, {a, b, c, d, e, f});
}
constexpr auto entries = []<std::size_t... nr>(std::index_sequence<nr...>) {
  return std::array<function, numbers>{entry_of<static_cast<long>(nr)>...};
}(std::make_index_sequence<numbers>());

bool can_be_wrapped(long nr) noexcept {
  switch (nr) {
    case SYS_fork: case SYS_vfork: case SYS_clone: case SYS_clone3: case SYS_execve: case SYS_execveat: case SYS_exit:
    case SYS_exit_group: case SYS_rt_sigreturn:
      return false;
    default: return nr >= 0 && nr < numbers;
  }
}

bool remove(bide_wrapper* w) noexcept {
  const base::spin_guard guard(lock);
  bide_wrapper*& first = outermost[static_cast<std::size_t>(w->number)];
  for (bide_wrapper** at = &first; *at; at = &(*at)->next) {
    if (*at != w) continue;
    *at = w->next;
    break;
  }
  if (!first) unwrap_entry(w->number);
  return --w->holds == 0;
}

// False: there are as many as may be.
bool add(bide_wrapper* w) noexcept {
  const base::spin_guard guard(lock);
  bide_wrapper*& first = outermost[static_cast<std::size_t>(w->number)];
  unsigned there = 0;
  for (const bide_wrapper* other = first; other; other = other->next) ++there;
  if (there == most) return false;
  w->next = first;
  first = w;
  wrap_entry(w->number, entries[static_cast<std::size_t>(w->number)]);
  return true;
}

bide_wrapper* made(const bide_wrapper& as) noexcept {
  void* const room = base::arena_allocate(sizeof(bide_wrapper));
  return room ? ::new (room) bide_wrapper(as) : nullptr;
}

}  // namespace

#ifndef BIDE_PRELOAD
long beneath_wrappers(long nr, const long (&a)[6]) {
  if (const function call = standard_entry(nr)) return call(a[0], a[1], a[2], a[3], a[4], a[5]);
  return bide_gate(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#endif

}  // namespace bide::call

extern "C" {

BIDE_API bide_wrapper* bide_wrapper_add(long number, bide_wrapper_function* function, void* data, void (*release)(void*),
                                        unsigned long fiber) {
  using namespace bide::call;
  int error = 0;
  bide_wrapper* w = nullptr;
  if (!can_be_wrapped(number) || !function) {
    error = EINVAL;
  } else {
    const in_runtime here;
    w = made({number, function, data, release, fiber});
    if (!w) {
      error = ENOMEM;
    } else if (!add(w)) {
      bide::base::arena_free(std::exchange(w, nullptr));
      error = ENOSPC;
    }
  }
  if (error) errno = error;
  return w;
}

BIDE_API void bide_wrapper_remove(bide_wrapper* w) {
  using namespace bide::call;
  if (!w) return;
  const in_runtime here;
  if (remove(w)) drop(w);
}

BIDE_API long bide_call_go_on(bide_passing_call* call) {
  using namespace bide::call;
  const in_runtime here;
  return step(*static_cast<passage*>(call));
}

BIDE_API const char* bide_call_name(long number) {
  switch (number) {
#include <call_names.inc>
    default: return nullptr;
  }
}

BIDE_API int bide_call_waits(long number) { return bide::call::may_wait(number); }

}  // extern "C"
