/// Runtimes beside a program's own threads, or within its own loop.
#pragma once

#include <bide/options.hpp>
#include <bide/task.hpp>

#include <functional>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

namespace bide {

namespace detail {
class entrance;
struct stepped_runtime;
struct threaded_runtime;

BIDE_API fiber* prepare_fiber_at(entrance*, const spawn_options& how, std::size_t size, std::size_t align, void** room);
BIDE_API void abandon_fiber_at(entrance*, fiber*) noexcept;
BIDE_API void start_fiber_at(entrance*, fiber*, frame*) noexcept;
BIDE_API std::shared_ptr<entrance> this_entrance();
BIDE_API bool is_open(const entrance*) noexcept;
}  // namespace detail

/// A way to hand work to a runtime from any thread: asyncio's call_soon_threadsafe and run_coroutine_threadsafe.
///
/// Threads:  any; copies are as good.
class runtime_handle {
 public:
  /// Returns the handle of the runtime that the calling fiber runs in, be it `run`'s.
  ///
  /// Errors:   std::system_error EPERM outside a fiber.
  static runtime_handle current() { return runtime_handle(detail::this_entrance()); }
  /// Constructs a handle to nothing.
  runtime_handle() noexcept = default;

  /// Tells whether the runtime takes work. It may end in the next moment.
  explicit operator bool() const noexcept { return way_ && detail::is_open(way_.get()); }

  /// Runs `f(args...)` in a new fiber of the runtime, on its least loaded worker. Never parks.
  ///
  /// Returns:  its task, whose get() blocks a plain thread, parks a fiber.
  /// Errors:   std::system_error: EPERM when the runtime has ended, or begun to; else as bide::spawn().
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  auto spawn(F&& f, Args&&... args) const {
    return spawn(spawn_options{}, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  auto spawn(const spawn_options& how, F&& f, Args&&... args) const {
    using frame = detail::typed_frame<std::decay_t<F>, std::decay_t<Args>...>;
    void* room = nullptr;
    core::fiber* made = detail::prepare_fiber_at(way_.get(), how, sizeof(frame), alignof(frame), &room);
    frame* placed;
    try {
      placed = ::new (room) frame(std::forward<F>(f), std::forward<Args>(args)...);
    } catch (...) {
      detail::abandon_fiber_at(way_.get(), made);
      throw;
    }
    detail::start_fiber_at(way_.get(), made, placed);
    return detail::task_access::make<typename frame::R>(made, placed);
  }

  /// The same with a std::future, for code that knows nothing of bide. Its get() blocks the thread, so not in a fiber.
  template <class F, class... Args>
    requires std::invocable<std::decay_t<F>, std::decay_t<Args>...>
  auto submit(F&& f, Args&&... args) const {
    using R = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;
    std::packaged_task<R(std::decay_t<Args>...)> work(std::forward<F>(f));
    auto future = work.get_future();
    spawn(std::move(work), std::forward<Args>(args)...);
    return future;
  }

  /// Runs `f()` in a fiber soon, and nobody waits for it: what it throws is reported on stderr.
  template <class F>
    requires detail::spawnable<F>
  void post(F&& f) const {
    spawn(std::forward<F>(f));
  }

 private:
  friend class runtime;
  explicit runtime_handle(std::shared_ptr<detail::entrance> way) noexcept : way_(std::move(way)) {}
  std::shared_ptr<detail::entrance> way_;
};

/// Says that a runtime has no threads of its own.
struct stepped_t {};
inline constexpr stepped_t stepped;

/// A runtime that lives as long as this object, beside the program's threads or within its loop.
///
///     bide::runtime fibers({.workers = 2});                  // two threads of its own
///     int n = fibers.spawn([] { return fetch(host); }).get();
///
///     bide::runtime fibers(bide::stepped);                   // none: runs in poll(), on the caller's thread
///     watch(fibers.fd(), [&] { fibers.poll(); });
///
/// For libev's own loops, bide/ev.hpp does the watching.
/// Threads:  it is made, ended and stepped by one thread, which is no worker; spawn() and kin by any.
class runtime {
 public:
  /// Starts as many threads as it has workers.
  ///
  /// Errors:   as bide::run(); EPERM on a worker.
  BIDE_API explicit runtime(const options& how = {});
  /// Starts no thread but those that offload() needs. It has one worker, whatever `how` says, and waits by epoll.
  BIDE_API explicit runtime(stepped_t, const options& how = {});
  /// Cancels every fiber that is left, and waits for their ends.
  BIDE_API ~runtime();
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  const runtime_handle& handle() const noexcept { return handle_; }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  auto spawn(F&& f, Args&&... args) const {
    return handle_.spawn(std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  auto spawn(const spawn_options& how, F&& f, Args&&... args) const {
    return handle_.spawn(how, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class... Args>
  auto submit(Args&&... args) const {
    return handle_.submit(std::forward<Args>(args)...);
  }
  template <class F>
  void post(F&& f) const {
    handle_.post(std::forward<F>(f));
  }

  /// Returns a descriptor that can be read when poll() has something to do: for the program's poll, epoll, or loop. It is
  /// the same for the runtime's life; nobody reads, writes or closes it.
  ///
  /// Errors:   std::system_error EINVAL for a runtime that is not stepped.
  BIDE_API int fd() const;

  /// Runs what is ready: timers that have come, descriptors, fibers, for about 10 ms at most. Never waits.
  ///
  /// Returns:  when it wants to be called again at the latest: in the past if fibers are ready still, never() if only an
  ///           event can bring work. Who watches fd() need not look at it.
  /// Errors:   std::system_error: EINVAL for a runtime that is not stepped, EPERM on another thread or in a fiber.
  BIDE_API deadline poll();

  /// Returns how many fibers have not ended.
  BIDE_API std::size_t fibers() const noexcept;

 private:
  std::unique_ptr<detail::threaded_runtime, void (*)(detail::threaded_runtime*)> threads_;
  std::unique_ptr<detail::stepped_runtime, void (*)(detail::stepped_runtime*)> steps_;
  runtime_handle handle_;
};

}  // namespace bide
