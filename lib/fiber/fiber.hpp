// A fiber's record. It stands at the top of the fiber's own stack.
//
// All of it belongs to its home worker, which runs it and changes it between fibers; other threads reach it through
// the home's inbox. So nothing here is locked, and a fiber is never woken while it is being switched away.
#pragma once

#include <boost/intrusive/list.hpp>

#include <bide/detail/scope.hpp>

#include <atomic>
#include <cstdint>
#include <string_view>

#include "lib/base/relaxed.hpp"
#include "lib/context/stack.hpp"
#include "lib/context/switch.hpp"
#include "lib/context/thread_state.hpp"
#include "lib/context/tools.hpp"
#include "lib/fiber/inbox.hpp"
#include "lib/fiber/timer_heap.hpp"

namespace bide::core {

struct waiter;
struct worker_core;
struct join_node;

// Who moves it, all on the home worker:
//   fresh    -> ready     start, or the delivery of a start that another worker posted
//   ready    -> parked    park, just before the switch away
//   parked   -> ready     wake, or the delivery of a wake that another thread posted
//   ready    -> finished  the end of its body; whoever runs next takes the stack back
// The running one is ready too: it is the worker's `current`, and in no queue.
enum class fiber_state : std::uint8_t { fresh, ready, parked, finished };

// What a parked fiber waits for, as reports say it: "read on fd 7".
struct wait_reason {
  const char* what = nullptr;
  long subject = -1;    // a descriptor, or the id of a fiber; -1: none
  bool in_call = false;  // a kernel call waits: a signal handler ends it as ready, with `interrupted` set
};

// Where a fiber was spawned: a source line, or else an address in the caller.
struct spawn_site {
  const char* file = nullptr;
  unsigned line = 0;
  const void* caller = nullptr;
};

using all_fibers_hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;

struct alignas(64) fiber {
  // The switch: the first cache line.
  context::saved ctx = nullptr;
  fiber* next = nullptr;  // in the run queue
  worker_core* home = nullptr;
  context::thread_state thread;
  std::uintptr_t thread_pointer = 0;  // FS base, where fibers own their TLS
  base::relaxed<fiber_state> state = fiber_state::fresh;
  bool cancel_pending = false;   // consumed by the next wait that can be cancelled
  bool ended_by_scope = false;   // the last wait that ended as cancelled did so by a scope, and consumed no cancel
  bool released = false;         // the handle is gone
  bool in_wrapper = false;       // it is in a wrapped call: what it calls meanwhile is not wrapped
  bool unwinds = false;          // a call ended from outside throws, through the symbol door
  void (*after_leaving)(fiber&) noexcept = nullptr;  // run once by whoever runs next, when this stack is left
  std::atomic<bool> done{false};  // written at home; any thread may read

  // The wait it is in.
  waiter* wait = nullptr;
  std::uint8_t wait_cancel_point = 0;  // cancel_point
  bool interrupted = false;       // a signal handler ran while it was parked: the call in progress may end with EINTR
  bool interrupt_restarts = false;  // that handler asked for SA_RESTART
  wait_reason reason;
  timer expiry;
  detail::scope* scope = nullptr;  // the innermost around what it runs

  // What it runs.
  void (*body)(void* frame) = nullptr;
  void (*drop)(void* frame, fiber&) = nullptr;
  void (*on_cancel)(fiber&) noexcept = nullptr;  // told of each cancel, by whoever asks for it; set before the start
  void* frame = nullptr;
  void* locals = nullptr;  // fiber_local values
  join_node* joiners = nullptr;  // in no order; each waits for `done`

  // Who it is.
  std::uint64_t id = 0;
  std::uint32_t tid = 0;   // its thread id, where fibers are threads; 0 elsewhere
  std::uint64_t ticks = 0;  // base::ticks that it ran, where fibers are threads
  const char* name_text = nullptr;  // on this stack; null: "fiber-<id>"
  std::size_t name_length = 0;
  spawn_site where;
  context::stack stack;
  context::tools::identity tool;
  all_fibers_hook all_hook;

  // Other threads' way in.
  message mail;                       // one at a time: the start, then the wake of the current wait
  message request_mail;               // posted by whoever finds `requests` at 0
  std::atomic<std::uint32_t> requests{0};

  std::string_view given_name() const noexcept { return {name_text, name_length}; }
};

enum : std::uint32_t { request_cancel = 1, request_release = 2 };

// Ready fibers, first come first served.
//
// Written out rather than Boost.Intrusive's: taking one also asks for the next two's memory, a record and a stack, which
// halves the cost of a long queue.
class run_queue {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  void push_back(fiber& f) noexcept {
    f.next = nullptr;
    if (first_)
      last_->next = &f;
    else
      first_ = &f;
    last_ = &f;
  }
  fiber& take() noexcept {
    fiber& f = *first_;
    first_ = f.next;
    if (first_) {
      __builtin_prefetch(first_->ctx);
      if (first_->next) __builtin_prefetch(first_->next);
    }
    return f;
  }
  // Takes the one that has so many before it, or as many of them as there are.
  fiber& take_behind(std::uint32_t others) noexcept {
    fiber* before = nullptr;
    fiber* f = first_;
    for (; others && f->next; --others) {
      before = f;
      f = f->next;
    }
    (before ? before->next : first_) = f->next;
    if (last_ == f) last_ = before;
    return *f;
  }
  // How many there are, if fewer than `most`; else that.
  std::uint32_t count_to(std::uint32_t most) const noexcept {
    std::uint32_t count = 0;
    for (const fiber* f = first_; f && count < most; f = f->next) ++count;
    return count;
  }
  // Forgets all of them.
  void clear() noexcept { first_ = nullptr; }

 private:
  fiber* first_ = nullptr;
  fiber* last_ = nullptr;  // means something while first_ is not null
};

using fiber_list = boost::intrusive::list<fiber,
    boost::intrusive::member_hook<fiber, all_fibers_hook, &fiber::all_hook>,
    boost::intrusive::constant_time_size<false>>;

}  // namespace bide::core
