/// Spawning fibers and collecting what they return.
#pragma once

#include <bide/detail/frame.hpp>

#include <memory>
#include <source_location>

namespace bide {

template <class R>
class shared_task;

/// A handle to a spawned fiber and to what it returns.
///
/// Dropping it lets the fiber go on by itself; an exception that nobody collected by then is reported on stderr.
/// Threads:  any, one at a time; fibers and plain threads alike.
/// Owns:     the fiber's record and stack until the fiber has ended and the handle is gone.
template <class R>
class task {
 public:
  using value_type = R;

  /// Constructs a handle to nothing.
  task() noexcept = default;
  task(task&& other) noexcept
      : fiber_(std::exchange(other.fiber_, nullptr)), frame_(std::exchange(other.frame_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    task(std::move(other)).swap(*this);
    return *this;
  }
  ~task() {
    if (fiber_) detail::release_fiber(fiber_);
  }
  void swap(task& other) noexcept {
    std::swap(fiber_, other.fiber_);
    std::swap(frame_, other.frame_);
  }

  /// Tells whether it refers to a fiber.
  explicit operator bool() const noexcept { return fiber_ != nullptr; }

  /// Waits for the fiber to end and returns what it returned, or throws what it threw. Once.
  ///
  /// Parks:    until the fiber ends; on a plain thread, blocks the thread.
  /// Errors:   `cancelled` if that fiber ended by its cancellation, or if the caller is cancelled while it waits;
  ///           `timed_out`. std::system_error: EINVAL on a second get() or an empty handle, EDEADLK if the fiber is the
  ///           caller, or goes on only by runtime::poll() on the calling thread.
  R get() {
    join();
    if (frame_->out.state() == detail::result_state::taken)
      detail::throw_no_result(fiber_, "the result was already taken");
    return frame_->out.take();
  }

  /// Waits for the fiber to end, however it does.
  ///
  /// Parks:    as get().
  /// Errors:   as get(), but never what the fiber threw.
  void join() {
    const wait_result how = join(deadline::never());
    if (how == wait_result::closed) detail::throw_no_result(fiber_, "the fiber is not in this process, which was forked");
    detail::must_be_ready(how);
  }

  /// Waits for the fiber to end, at most until the deadline.
  ///
  /// Returns:  ready when it has ended; expired, cancelled or timed_out (the caller was) while it still runs; closed in
  ///           the child of a fork, where no other fiber is.
  [[nodiscard]] wait_result join(deadline until) {
    require();
    return detail::join_fiber(fiber_, frame_, until);
  }

  /// Tells whether the fiber has ended. Never parks.
  bool done() const noexcept { return frame_ && frame_->ended(); }

  /// Returns how far it is. Never parks.
  ///
  /// Errors:   std::system_error EINVAL for an empty handle.
  task_state state() const {
    require();
    return detail::fiber_task_state(fiber_, frame_);
  }

  /// Waits for the fiber to end and returns what it threw, which then counts as collected; null if it returned or was
  /// cancelled.
  ///
  /// Parks, Errors: as join().
  std::exception_ptr exception() {
    join();
    return frame_->out.error();
  }

  /// Has `f()` or `f(task_state)` called when the fiber has ended; at once if it has.
  ///
  /// Callbacks run one after another in the order they were added, on the fiber that has ended, before those who join it
  /// go on; they may park, and see its state as ended. One that throws is reported on stderr and the others still run.
  /// Errors:   std::system_error EINVAL for an empty handle.
  /// Owns:     a decayed copy of `f`.
  template <class F>
    requires(std::invocable<std::decay_t<F>&> || std::invocable<std::decay_t<F>&, task_state>)
  void on_done(F&& f) {
    require();
    detail::add_callback(*frame_, detail::make_callback(std::forward<F>(f)));
  }

  /// Asks the fiber to end: the wait it is in, or the next one it begins, ends as cancelled. Never parks.
  ///
  /// A libc call waiting through the symbol door returns ECANCELED; a function of this API says or throws
  /// `cancelled`. It is delivered once. One that has ended is left alone. A function that took a std::stop_token has
  /// its stop requested as well; its std::stop_callbacks run here.
  void cancel() noexcept {
    if (fiber_) detail::cancel_fiber(fiber_);
  }

  /// Returns the name given at spawn, or "fiber-<id>".
  std::string name() const { return fiber_ ? detail::fiber_name(fiber_) : std::string(); }

  /// Returns the fiber's number in this process, from 1; 0 for an empty handle.
  std::uint64_t id() const noexcept { return fiber_ ? detail::fiber_id(fiber_) : 0; }

  /// Gives the handle up for one that may be copied, and whose get() may be called by many. A task<R> made in place of a
  /// temporary: `bide::spawn(f).share()`.
  shared_task<R> share() { return shared_task<R>(std::move(*this)); }

 private:
  friend detail::task_access;
  task(core::fiber* f, detail::result_frame<R>* placed) noexcept : fiber_(f), frame_(placed) {}
  void require() const {
    if (!fiber_) detail::throw_no_result(nullptr, "the handle is empty");
  }

  core::fiber* fiber_ = nullptr;
  detail::result_frame<R>* frame_ = nullptr;
};

/// A handle to a spawned fiber that may be copied; the last one to go drops the result.
///
/// Threads:  any, copies on several at a time.
template <class R>
class shared_task {
 public:
  using value_type = R;

  /// Constructs a handle to nothing.
  shared_task() noexcept = default;
  shared_task(task<R>&& t) : task_(std::make_shared<task<R>>(std::move(t))) {}

  explicit operator bool() const noexcept { return task_ && *task_; }

  /// Waits for the fiber to end and returns a reference to what it returned (nothing for void), or throws what it threw.
  /// As often as one likes; the reference is good while a handle is left.
  ///
  /// Parks, Errors: as task::get().
  typename detail::const_result<R>::type get() const {
    the().join();
    return detail::task_access::frame_of(*task_)->out.share();
  }
  void join() const { the().join(); }
  [[nodiscard]] wait_result join(deadline until) const { return the().join(until); }
  bool done() const noexcept { return task_ && task_->done(); }
  task_state state() const { return the().state(); }
  std::exception_ptr exception() const { return the().exception(); }
  template <class F>
  void on_done(F&& f) const {
    the().on_done(std::forward<F>(f));
  }
  void cancel() const noexcept {
    if (task_) task_->cancel();
  }
  std::string name() const { return task_ ? task_->name() : std::string(); }
  std::uint64_t id() const noexcept { return task_ ? task_->id() : 0; }

 private:
  friend detail::task_access;
  task<R>& the() const {
    if (!task_) detail::throw_no_result(nullptr, "the handle is empty");
    return *task_;
  }
  std::shared_ptr<task<R>> task_;
};

namespace detail {
/// Throws what cannot be; else the group's child, or with a null group nobody's.
BIDE_API void start_in_group(group_core*, fiber*, frame*);

template <class F, class... Args>
auto spawn_in(group_core* group, const spawn_options& how, const void* caller, F&& f, Args&&... args) {
  using frame = detail::typed_frame<std::decay_t<F>, std::decay_t<Args>...>;
  void* room = nullptr;
  core::fiber* made = detail::prepare_fiber(how, caller, sizeof(frame), alignof(frame), &room);
  frame* placed;
  if constexpr (!frame::stoppable && std::is_nothrow_constructible_v<frame, F, Args...>) {
    placed = ::new (room) frame(std::forward<F>(f), std::forward<Args>(args)...);
  } else {
    try {
      placed = ::new (room) frame(std::forward<F>(f), std::forward<Args>(args)...);
    } catch (...) {
      detail::abandon_fiber(made);
      throw;
    }
  }
  if (group)
    start_in_group(group, made, placed);
  else
    start_fiber(made, placed);
  return task_access::make<typename frame::R>(made, placed);
}
}  // namespace detail

template <class F, class... Args>
auto spawn_at(const spawn_options& how, const void* caller, F&& f, Args&&... args) {
  return detail::spawn_in(nullptr, how, caller, std::forward<F>(f), std::forward<Args>(args)...);
}

/// Runs `f` in a new fiber of the caller's runtime, soon, on the same worker or on one that has clearly fewer fibers. The
/// caller goes on first.
///
/// Threads:  fibers. Once it has started, a fiber stays on its worker.
/// Returns:  the handle to it. Dropping the handle lets the fiber go on by itself.
/// Errors:   std::system_error: EPERM outside a runtime, ENOMEM when no stack can be had. `f` has not run then.
/// Owns:     a decayed copy of `f` until it has returned. `f` and what it returns live on the fiber's stack.
template <class F>
  requires detail::spawnable<F>
auto spawn(F&& f, std::source_location where = std::source_location::current()) {
  return spawn_at(spawn_options{.where = where}, nullptr, std::forward<F>(f));
}

/// Runs `f(args...)` in a new fiber, with decayed copies of the arguments as std::thread takes them. An `f` that takes a
/// std::stop_token before them gets its task's, as with std::jthread: stop is requested by task::cancel().
template <class F, class... Args>
  requires(sizeof...(Args) > 0 && detail::spawnable<F, Args...>)
[[gnu::noinline]] auto spawn(F&& f, Args&&... args) {
  return spawn_at(spawn_options{}, __builtin_return_address(0), std::forward<F>(f), std::forward<Args>(args)...);
}

/// Runs `f(args...)` in a new fiber with a name or a stack size of its own.
///
/// Errors:   std::system_error EINVAL for a stack below 16 KiB or above 1 GiB; else as spawn(f).
template <class F, class... Args>
  requires detail::spawnable<F, Args...>
auto spawn(const spawn_options& how, F&& f, Args&&... args) {
  return spawn_at(how, nullptr, std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace bide
