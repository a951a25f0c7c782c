#include <bide/group.hpp>
#include <bide/task.hpp>

#include <errno.h>

#include <cstring>
#include <string>

#include "lib/base/spin.hpp"
#include "lib/base/text.hpp"
#include "lib/context/stack.hpp"
#include "lib/diag/fibers.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/task/error.hpp"
#include "lib/task/locals.hpp"
#include "lib/task/prepare.hpp"

namespace bide::detail {
namespace {

using core::fiber;
using task_layer::fail;

// The end of what a task runs, still on its fiber: whoever watches is told, then the callbacks, then its group.
void end(frame& me, task_state how) noexcept {
  callback* todo;
  {
    const base::spin_guard guard(me.lock);
    me.state.store(how, std::memory_order_release);
    while (watch* w = me.watchers) {
      me.watchers = w->next;
      if (w->next) w->next->previous = nullptr;
      w->on = false;
      w->ended(*w);
    }
    todo = me.callbacks;
    me.callbacks = nullptr;
  }
  while (todo) {
    callback* next = todo->next;
    todo->call(todo, how);
    todo = next;
  }
  if (me.group)
    me.group->left(me, how);
  else
    task_layer::destroy_locals(*core::this_fiber());
}

}  // namespace

fiber* prepare_fiber(const spawn_options& how, const void* caller, std::size_t size, std::size_t align, void** room) {
  core::worker_core* w = core::this_worker();
  if (!w || w->current == &w->loop)
    fail(EPERM, "spawn() outside a runtime: call it in a fiber, inside bide::run()");
  fiber* f = task_layer::prepare(*w, how, size, align, room);
  if (caller) f->where = {nullptr, 0, caller};
  return f;
}

}  // namespace bide::detail

namespace bide::task_layer {
namespace {

char* align_down(char* p, std::size_t align) noexcept {
  return reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(p) & ~(align - 1));
}

}  // namespace

// The top of a new stack, downwards: the record, the name, the frame with callable and result, the first call.
core::fiber* prepare(core::worker_core& w, const spawn_options& how, std::size_t size, std::size_t align, void** room) {
  const std::size_t bytes = how.stack_size ? context::round_stack_size(how.stack_size) : w.runtime->how.stack_size;
  if (!bytes)
    fail(EINVAL, "spawn_options::stack_size is " + std::to_string(how.stack_size) +
                     " bytes; it must be 16 KiB to 1 GiB");
  if (size + align + how.name.size() > bytes / 4)
    fail(EINVAL, "spawn() with " + std::to_string(size + how.name.size()) + " bytes of callable, result and name on a "
                     "stack of " + std::to_string(bytes) + ": hold them by pointer or give it a larger stack");
  if (w.live.load(std::memory_order_relaxed) >= core::timer_heap::most)
    fail(ENOMEM, "spawn(): a worker holds 4,194,304 fibers at most");
  core::fiber* f = &w == core::this_worker() ? core::make_fiber(w, bytes) : core::make_fiber_apart(bytes);
  if (!f)
    fail(ENOMEM, "spawn() can't get a stack of " + std::to_string(bytes) +
                     " bytes; see ulimit -v, vm.overcommit_memory and vm.max_map_count");
  f->unwinds = how.libc_calls == ended_call::unwinds;
  f->where = {how.where.file_name(), how.where.line(), nullptr};
  char* top = reinterpret_cast<char*>(f);
  if (!how.name.empty()) {
    top -= how.name.size();
    std::memcpy(top, how.name.data(), how.name.size());
    f->name_text = top;
    f->name_length = how.name.size();
  }
  f->frame = align_down(top - size, align);
  f->home = &w;
  *room = f->frame;
  return f;
}

void start(core::worker_core& home, core::fiber* f, detail::frame* placed) noexcept {
  char* top = align_down(static_cast<char*>(f->frame), 64);
  f->frame = placed;
  placed->who = f;
  f->body = [](void* p) {
    auto& me = *static_cast<detail::frame*>(p);
    me.state.store(task_state::running, std::memory_order_relaxed);
    detail::end(me, me.run(me));
  };
  if (placed->on_cancel) {
    f->on_cancel = [](core::fiber& who) noexcept {
      auto& its = *static_cast<detail::frame*>(who.frame);
      its.on_cancel(its);
    };
  }
  f->drop = [](void* p, core::fiber& who) { static_cast<detail::frame*>(p)->drop(*static_cast<detail::frame*>(p), who); };
  core::start(*f, home, top);
}

}  // namespace bide::task_layer

namespace bide::detail {

void abandon_fiber(fiber* f) noexcept { core::recycle(*f); }

void start_fiber(fiber* f, frame* placed) noexcept {
  core::worker_core& mine = *core::this_worker();
  task_layer::start(mine.runtime->least_loaded(mine, core::prefer::home), f, placed);
}

void start_in_group(group_core* group, fiber* f, frame* placed) {
  group->enroll(f, *placed);
}

void release_fiber(fiber* f) noexcept { core::request(*f, core::request_release); }
void cancel_fiber(fiber* f) noexcept { core::request(*f, core::request_cancel); }

static void must_go_on(const fiber* f) {
  if (core::waits_for_own_steps(*f))
    fail(EDEADLK, "fiber " + fiber_name(f) + " goes on only by runtime::poll() on this thread, which waits for its end");
}

wait_result join_fiber(fiber* f, const frame* its, deadline until) {
  if (f == core::this_fiber() && its->ended()) return wait_result::ready;  // in one of its callbacks
  if (f == core::this_fiber()) fail(EDEADLK, "fiber " + fiber_name(f) + " waits for its own end");
  if (until.is_never()) must_go_on(f);
  return core::join(*f, until.ns());
}

task_state fiber_task_state(const fiber* f, const frame* its) noexcept {
  const task_state how = its->state.load(std::memory_order_acquire);
  return how == task_state::running && f->state == core::fiber_state::parked ? task_state::parked : how;
}

void add_callback(frame& its, callback* c) {
  base::spin_lock(its.lock);
  if (!its.ended()) {
    *its.last_callback = c;
    its.last_callback = &c->next;
    return base::spin_unlock(its.lock);
  }
  base::spin_unlock(its.lock);
  c->call(c, its.state.load(std::memory_order_relaxed));
}

std::uint64_t fiber_id(const fiber* f) noexcept { return f->id; }

std::string fiber_name(const fiber* f) {
  return f->name_length ? std::string(f->given_name()) : "fiber-" + std::to_string(f->id);
}

namespace {

base::text& append_what(base::text& t, std::exception_ptr error) noexcept {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const std::exception& e) {
    t << e.what();
  } catch (...) {
    t << "an exception that is no std::exception";
  }
  return t << '\n';
}

}  // namespace

void report_uncollected(const fiber& who, std::exception_ptr error) noexcept {
  base::text t;
  t << "bide: nobody collected what ";
  diag::describe(t, who);
  t << " threw: ";
  append_what(t, std::move(error)).to_stderr();
}

void report_callback(std::exception_ptr error, const char* what) noexcept {
  base::text t;
  t << "bide: " << what;
  if (const fiber* me = core::this_fiber()) diag::describe(t << " of ", *me);
  t << " threw: ";
  append_what(t, std::move(error)).to_stderr();
}

void throw_no_result(const fiber* f, const char* what) {
  fail(EINVAL, f ? "task of " + fiber_name(f) + ": " + what : std::string("task: ") + what);
}

}  // namespace bide::detail
