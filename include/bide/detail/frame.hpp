#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/result.hpp>
#include <bide/detail/wait_list.hpp>
#include <bide/options.hpp>
#include <bide/wait.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace bide {

/// How far a task is. The last three are for good.
enum class task_state : std::uint8_t {
  pending,    ///< It has not begun.
  running,    ///< It runs, or is ready to.
  parked,     ///< It waits.
  done,       ///< It has returned.
  failed,     ///< It has thrown.
  cancelled,  ///< It has ended by its cancellation.
};

template <class R>
class task;

namespace core {
struct fiber;
}

namespace detail {

using core::fiber;

/// What is to run once a task has ended; made by new, gone with its call.
struct callback {
  callback* next = nullptr;
  void (*call)(callback*, task_state) noexcept = nullptr;  ///< Calls and deletes it; reports what it throws.
};

/// One who watches a task for its end; told once, under the task's lock, by whoever runs there.
struct watch {
  watch* next = nullptr;
  watch* previous = nullptr;
  void (*ended)(watch&) noexcept = nullptr;
  bool on = false;
};

class group_core;

/// What a fiber runs and where its result lives; placed on the fiber's own stack.
struct frame {
  task_state (*run)(frame&) = nullptr;         ///< Calls the function and fills the result.
  void (*drop)(frame&, fiber&) = nullptr;      ///< Destroys the result; reports an exception that nobody took.
  void (*on_cancel)(frame&) noexcept = nullptr;
  std::exception_ptr (*look)(frame&) = nullptr;  ///< What it threw, which counts as collected; null if it returned.
  std::atomic<task_state> state{task_state::pending};  ///< Never parked: that the fiber knows.
  std::atomic<std::uint32_t> lock{0};
  watch* watchers = nullptr;             ///< guarded by lock
  callback* callbacks = nullptr;         ///< guarded by lock; in order
  callback** last_callback = &callbacks;  ///< guarded by lock
  group_core* group = nullptr;
  frame* next = nullptr;      ///< in its group, guarded by the group's lock
  frame* previous = nullptr;  ///< in its group
  fiber* who = nullptr;

  bool ended() const noexcept { return state.load(std::memory_order_acquire) >= task_state::done; }
};

/// Reserves a stack and room for a frame on it. Throws std::system_error (EPERM, EINVAL, ENOMEM).
BIDE_API fiber* prepare_fiber(const spawn_options& how, const void* caller, std::size_t size, std::size_t align,
                              void** room);
/// Gives up a prepared fiber whose frame could not be constructed.
BIDE_API void abandon_fiber(fiber*) noexcept;
/// Makes a prepared fiber ready on this worker, or on one that has clearly fewer.
BIDE_API void start_fiber(fiber*, frame*) noexcept;
/// Gives up the handle: the fiber goes on by itself, its result is dropped when it ends.
BIDE_API void release_fiber(fiber*) noexcept;
BIDE_API wait_result join_fiber(fiber*, const frame*, deadline);
BIDE_API task_state fiber_task_state(const fiber*, const frame*) noexcept;
BIDE_API void cancel_fiber(fiber*) noexcept;
BIDE_API std::string fiber_name(const fiber*);
BIDE_API std::uint64_t fiber_id(const fiber*) noexcept;
/// Adds it, or calls it there and then if the task has ended.
BIDE_API void add_callback(frame&, callback*);
/// Writes one line to stderr about an exception that no one collected.
BIDE_API void report_uncollected(const fiber&, std::exception_ptr) noexcept;
[[noreturn]] BIDE_API void throw_no_result(const fiber*, const char* what);

template <class R>
struct result_frame : frame {
  result<R> out;
};

/// A function that takes a std::stop_token before its arguments gets its task's, as std::jthread gives it.
template <class F, class... Args>
inline constexpr bool wants_stop_token =
    !std::is_invocable_v<F, Args...> && std::is_invocable_v<F, std::stop_token, Args...>;
template <class F, class... Args>
concept spawnable = std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...> ||
                    std::is_invocable_v<std::decay_t<F>, std::stop_token, std::decay_t<Args>...>;

template <bool Wanted, class F, class... Args>
struct spawn_result : std::invoke_result<F, Args...> {};
template <class F, class... Args>
struct spawn_result<true, F, Args...> : std::invoke_result<F, std::stop_token, Args...> {};
/// What spawn(F, Args...) gives a task of.
template <class F, class... Args>
using spawned_t = typename spawn_result<wants_stop_token<std::decay_t<F>, std::decay_t<Args>...>, std::decay_t<F>,
                                        std::decay_t<Args>...>::type;

struct no_stop_source {};

template <class F, class... Args>
struct typed_frame : result_frame<spawned_t<F, Args...>> {
  using R = spawned_t<F, Args...>;
  static constexpr bool stoppable = wants_stop_token<F, Args...>;

  template <class G, class... As>
  explicit typed_frame(G&& f, As&&... args) : function(std::forward<G>(f), std::forward<As>(args)...) {
    this->run = [](frame& base) {
      auto& self = static_cast<typed_frame&>(base);
      self.out.fill([&]() -> R {
        // Moved out, so that the callable and its captures die with the call, not with the handle.
        auto local = std::move(self.function);
        return std::apply(
            [&](F& fn, Args&... as) -> R {
              if constexpr (stoppable)
                return std::invoke(std::move(fn), self.stop.get_token(), std::move(as)...);
              else
                return std::invoke(std::move(fn), std::move(as)...);
            },
            local);
      });
      switch (self.out.state()) {
        case result_state::exception: return task_state::failed;
        case result_state::cancelled: return task_state::cancelled;
        default: return task_state::done;
      }
    };
    this->drop = [](frame& base, fiber& who) {
      auto& self = static_cast<typed_frame&>(base);
      if (std::exception_ptr error = self.out.clear()) report_uncollected(who, std::move(error));
      self.~typed_frame();
    };
    this->look = [](frame& base) { return static_cast<typed_frame&>(base).out.error(); };
    if constexpr (stoppable) {
      this->on_cancel = [](frame& base) noexcept { static_cast<typed_frame&>(base).stop.request_stop(); };
    }
  }
  std::tuple<F, Args...> function;
  [[no_unique_address]] std::conditional_t<stoppable, std::stop_source, no_stop_source> stop;
};

/// Reports on stderr what a callback, or another function that nobody waits for, threw.
BIDE_API void report_callback(std::exception_ptr, const char* what = "a callback") noexcept;

template <class F>
callback* make_callback(F&& f) {
  struct holder : callback {
    explicit holder(F&& g) : function(std::forward<F>(g)) {}
    std::decay_t<F> function;
  };
  auto* made = new holder(std::forward<F>(f));
  made->call = [](callback* c, task_state how) noexcept {
    const std::unique_ptr<holder> self(static_cast<holder*>(c));
    try {
      if constexpr (std::is_invocable_v<std::decay_t<F>&, task_state>)
        std::invoke(self->function, how);
      else
        std::invoke(self->function);
    } catch (const cancelled&) {
    } catch (...) {
      report_callback(std::current_exception());
    }
  };
  return made;
}

/// The way from a handle to its frame, for functions that take several.
struct task_access {
  /// Takes the fiber out of a handle, which is empty then and has released nothing.
  template <class Task>
  static fiber* let_go(Task& t) noexcept {
    t.frame_ = nullptr;
    return std::exchange(t.fiber_, nullptr);
  }
  template <class R>
  static task<R> make(fiber* f, result_frame<R>* placed) noexcept {
    return task<R>(f, placed);
  }
  template <class Task>
  static auto frame_of(Task& t) noexcept {
    if constexpr (requires { t.frame_; })
      return t.frame_;
    else
      return t.task_ ? t.task_->frame_ : nullptr;
  }
  template <class Task>
  static fiber* fiber_of(Task& t) noexcept {
    if constexpr (requires { t.frame_; })
      return t.fiber_;
    else
      return t.task_ ? t.task_->fiber_ : nullptr;
  }
};

}  // namespace detail
}  // namespace bide
