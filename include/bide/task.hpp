/// Spawning fibers and collecting what they return.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/result.hpp>
#include <bide/options.hpp>
#include <bide/wait.hpp>

#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace bide {

namespace core {
struct fiber;
}

namespace detail {

using core::fiber;

/// What a fiber runs and where its result lives; placed on the fiber's own stack.
struct frame {
  void (*run)(frame&) = nullptr;       ///< Calls the function and fills the result.
  void (*drop)(frame&, fiber&) = nullptr;  ///< Destroys the result; reports an exception that nobody took.
};

/// Reserves a stack and room for a frame on it. Throws std::system_error (EPERM, EINVAL, ENOMEM).
BIDE_API fiber* prepare_fiber(const spawn_options& how, const void* caller, std::size_t size, std::size_t align,
                              void** room);
/// Gives up a prepared fiber whose frame could not be constructed.
BIDE_API void abandon_fiber(fiber*) noexcept;
/// Makes a prepared fiber ready on the least loaded worker.
BIDE_API void start_fiber(fiber*, frame*) noexcept;
/// Gives up the handle: the fiber goes on by itself, its result is dropped when it ends.
BIDE_API void release_fiber(fiber*) noexcept;
BIDE_API wait_result join_fiber(fiber*, deadline);
BIDE_API bool fiber_done(const fiber*) noexcept;
BIDE_API void cancel_fiber(fiber*) noexcept;
BIDE_API std::string fiber_name(const fiber*);
BIDE_API std::uint64_t fiber_id(const fiber*) noexcept;
/// Writes one line to stderr about an exception that no one collected.
BIDE_API void report_uncollected(const fiber&, std::exception_ptr) noexcept;
[[noreturn]] BIDE_API void throw_no_result(const fiber*, const char* what);

template <class R, class F, class... Args>
struct typed_frame : frame {
  template <class G, class... As>
  explicit typed_frame(G&& f, As&&... args) : call(std::forward<G>(f), std::forward<As>(args)...) {
    run = [](frame& base) {
      auto& self = static_cast<typed_frame&>(base);
      self.out.fill([&]() -> R {
        // Moved out, so that the callable and its captures die with the call, not with the handle.
        auto local = std::move(self.call);
        return std::apply([](F& fn, Args&... as) -> R { return std::invoke(std::move(fn), std::move(as)...); }, local);
      });
    };
    drop = [](frame& base, fiber& who) {
      auto& self = static_cast<typed_frame&>(base);
      if (std::exception_ptr error = self.out.clear()) report_uncollected(who, std::move(error));
      self.~typed_frame();
    };
  }
  result<R> out;
  std::tuple<F, Args...> call;
};

}  // namespace detail

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
      : fiber_(std::exchange(other.fiber_, nullptr)), out_(std::exchange(other.out_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    task(std::move(other)).swap(*this);
    return *this;
  }
  ~task() {
    if (fiber_) detail::release_fiber(fiber_);
  }
  void swap(task& other) noexcept {
    std::swap(fiber_, other.fiber_);
    std::swap(out_, other.out_);
  }

  /// Tells whether it refers to a fiber.
  explicit operator bool() const noexcept { return fiber_ != nullptr; }

  /// Waits for the fiber to end and returns what it returned, or throws what it threw. Once.
  ///
  /// Parks:    until the fiber ends; on a plain thread, blocks the thread.
  /// Errors:   `cancelled` if that fiber ended by its cancellation, or if the caller is cancelled while it waits.
  ///           std::system_error: EINVAL on a second get() or an empty handle, EDEADLK if the fiber is the caller.
  R get() {
    join();
    if (out_->state() == detail::result_state::taken) detail::throw_no_result(fiber_, "the result was already taken");
    return out_->take();
  }

  /// Waits for the fiber to end, however it does.
  ///
  /// Parks:    as get().
  /// Errors:   as get(), but never what the fiber threw.
  void join() {
    const wait_result how = join(deadline::never());
    if (how == wait_result::cancelled) throw cancelled{};
    if (how == wait_result::closed) detail::throw_no_result(fiber_, "the fiber is not in this process, which was forked");
  }

  /// Waits for the fiber to end, at most until the deadline.
  ///
  /// Returns:  ready when it has ended; expired or cancelled (the caller was) while it still runs; closed in the child of
  ///           a fork, where no other fiber is.
  [[nodiscard]] wait_result join(deadline until) {
    if (!fiber_) detail::throw_no_result(nullptr, "the handle is empty");
    return detail::join_fiber(fiber_, until);
  }

  /// Tells whether the fiber has ended. Never parks.
  bool done() const noexcept { return fiber_ && detail::fiber_done(fiber_); }

  /// Asks the fiber to end: the wait it is in, or the next one it begins, ends as cancelled. Never parks.
  ///
  /// A libc call waiting through the symbol door returns ECANCELED; a function of this API says or throws
  /// `cancelled`. It is delivered once. One that has ended is left alone.
  void cancel() noexcept {
    if (fiber_) detail::cancel_fiber(fiber_);
  }

  /// Returns the name given at spawn, or "fiber-<id>".
  std::string name() const { return fiber_ ? detail::fiber_name(fiber_) : std::string(); }

  /// Returns the fiber's number in this process, from 1; 0 for an empty handle.
  std::uint64_t id() const noexcept { return fiber_ ? detail::fiber_id(fiber_) : 0; }

 private:
  template <class F, class... Args>
  friend auto spawn_at(const spawn_options&, const void*, F&&, Args&&...);
  task(core::fiber* f, detail::result<R>* out) noexcept : fiber_(f), out_(out) {}

  core::fiber* fiber_ = nullptr;
  detail::result<R>* out_ = nullptr;
};

template <class F, class... Args>
auto spawn_at(const spawn_options& how, const void* caller, F&& f, Args&&... args) {
  using R = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;
  using frame = detail::typed_frame<R, std::decay_t<F>, std::decay_t<Args>...>;
  void* room = nullptr;
  core::fiber* made = detail::prepare_fiber(how, caller, sizeof(frame), alignof(frame), &room);
  frame* placed;
  if constexpr (std::is_nothrow_constructible_v<frame, F, Args...>) {
    placed = ::new (room) frame(std::forward<F>(f), std::forward<Args>(args)...);
  } else {
    try {
      placed = ::new (room) frame(std::forward<F>(f), std::forward<Args>(args)...);
    } catch (...) {
      detail::abandon_fiber(made);
      throw;
    }
  }
  detail::start_fiber(made, placed);
  return task<R>(made, &placed->out);
}

/// Runs `f` in a new fiber of the caller's runtime, soon, on the least loaded worker; the caller goes on first.
///
/// Threads:  fibers. Once it has started, a fiber stays on its worker.
/// Returns:  the handle to it. Dropping the handle lets the fiber go on by itself.
/// Errors:   std::system_error: EPERM outside a runtime, ENOMEM when no stack can be had. `f` has not run then.
/// Owns:     a decayed copy of `f` until it has returned. `f` and what it returns live on the fiber's stack.
template <class F>
  requires std::invocable<std::decay_t<F>>
auto spawn(F&& f, std::source_location where = std::source_location::current()) {
  return spawn_at(spawn_options{.where = where}, nullptr, std::forward<F>(f));
}

/// Runs `f(args...)` in a new fiber, with decayed copies of the arguments as std::thread takes them.
template <class F, class... Args>
  requires(sizeof...(Args) > 0 && std::invocable<std::decay_t<F>, std::decay_t<Args>...>)
[[gnu::noinline]] auto spawn(F&& f, Args&&... args) {
  return spawn_at(spawn_options{}, __builtin_return_address(0), std::forward<F>(f), std::forward<Args>(args)...);
}

/// Runs `f(args...)` in a new fiber with a name or a stack size of its own.
///
/// Errors:   std::system_error EINVAL for a stack below 16 KiB or above 1 GiB; else as spawn(f).
template <class F, class... Args>
  requires std::invocable<std::decay_t<F>, std::decay_t<Args>...>
auto spawn(const spawn_options& how, F&& f, Args&&... args) {
  return spawn_at(how, nullptr, std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace bide
