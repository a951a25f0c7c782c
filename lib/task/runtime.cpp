// Runtimes that are objects: on threads of their own, or stepped by the program.
#include <bide/runtime.hpp>

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <bide/event.hpp>
#include <bide/run.hpp>
#include <bide/shield.hpp>

#include <optional>
#include <system_error>
#include <thread>

#include "lib/context/stack.hpp"
#include "lib/diag/fibers.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/fork.hpp"
#include "lib/sys/raw.hpp"
#include "lib/task/entrance.hpp"
#include "lib/task/error.hpp"
#include "lib/task/open.hpp"

namespace bide {
namespace detail {

using task_layer::fail;

// `run` on a thread of ours, with a first fiber that waits for the end.
struct threaded_runtime {
  event over, begun;
  std::shared_ptr<entrance> way;
  std::exception_ptr error;
  std::thread thread;
  const pid_t process = getpid();
};

struct stepped_runtime {
  core::runtime rt;
  std::shared_ptr<entrance> way;
  std::thread::id stepper = std::this_thread::get_id();
  const pid_t process = getpid();

  core::worker& only() noexcept { return *rt.workers[0]; }
};

namespace {

void end_threads(threaded_runtime* t) {
  if (!t) return;
  // In the child of a fork neither the threads are there nor the fibers, and glibc refuses to detach one that is not.
  if (t->process != getpid()) return;
  t->over.set();
  t->thread.join();
  delete t;
}

void end_steps(stepped_runtime* s) {
  if (!s || s->process != getpid()) return;
  if (s->way) {
    s->way->shut();
    s->only().begin_closing_stepped();
    while (s->only().step(base::never), s->only().unfinished()) {
      pollfd all{s->only().io.outer_fd(), POLLIN, 0};
      sys::raw(SYS_poll, &all, 1, -1);
    }
    diag::leave_thread();
    s->rt.close();
  }
  delete s;
}

stepped_runtime& steps(stepped_runtime* s, const char* what) {
  if (!s) fail(EINVAL, std::string(what) + ": the runtime has threads of its own; make it with bide::stepped");
  return *s;
}

}  // namespace
}  // namespace detail

using detail::fail;

runtime::runtime(const options& how) : threads_(new detail::threaded_runtime, detail::end_threads), steps_(nullptr, detail::end_steps) {
  detail::threaded_runtime& t = *threads_;
  std::unique_ptr<detail::threaded_runtime> not_started(threads_.release());
  t.thread = std::thread([&t, how] {
    try {
      run([&] {
        t.way = detail::entrance_here();
        t.begun.set();
        const detail::shield_scope kept_off;
        t.over.wait();
      }, how);
    } catch (...) {
      t.error = std::current_exception();
      t.begun.set();
    }
  });
  threads_.reset(not_started.release());
  t.begun.wait();
  if (t.error) {
    const std::exception_ptr error = t.error;
    threads_.reset();
    std::rethrow_exception(error);
  }
  handle_ = runtime_handle(t.way);
}

runtime::runtime(stepped_t, const options& how)
    : threads_(nullptr, detail::end_threads), steps_(new detail::stepped_runtime, detail::end_steps) {
  if (core::this_worker()) fail(EPERM, "a stepped runtime within a runtime: its fibers would never have their turn");
  options one = how;
  one.workers = 1;
  steps_->rt.stepped = true;
  task_layer::open(steps_->rt, one);
  steps_->way = std::make_shared<detail::entrance>(steps_->rt);
  steps_->rt.entrance = &steps_->way;
  diag::enter_thread();
  steps_->only().step(0);
  handle_ = runtime_handle(steps_->way);
}

runtime::~runtime() = default;

int runtime::fd() const { return detail::steps(steps_.get(), "runtime::fd()").only().io.outer_fd(); }

deadline runtime::poll() {
  detail::stepped_runtime& s = detail::steps(steps_.get(), "runtime::poll()");
  if (core::this_worker()) fail(EPERM, "runtime::poll() on a worker");
  if (s.stepper != std::this_thread::get_id()) fail(EPERM, "runtime::poll() on another thread than made the runtime");
  constexpr std::int64_t slice = 10'000'000;
  return deadline::from_ns(s.only().step(base::after(base::now(), slice)));
}

std::size_t runtime::fibers() const noexcept {
  core::runtime* rt = handle_.way_ ? handle_.way_->enter() : nullptr;
  if (!rt) return 0;
  std::size_t sum = 0;
  for (unsigned i = 0; i < rt->count; ++i) sum += rt->workers[i]->live.load() + rt->workers[i]->incoming.load();
  handle_.way_->leave();
  return threads_ && sum ? sum - 1 : sum;  // without the one that waits for the end
}

}  // namespace bide
