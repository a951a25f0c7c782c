/// Where a fiber leaves what its function returned or threw.
#pragma once

#include <bide/wait.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

namespace bide::detail {

enum class result_state : unsigned char { empty, value, exception, cancelled, taken };

template <class R>
struct const_result {
  using type = const R&;
};
template <class R>
struct const_result<R&> {
  using type = R&;
};
template <>
struct const_result<void> {
  using type = void;
};

/// Owns: the value or exception until it is taken.
template <class R>
class result {
  using stored = std::conditional_t<std::is_void_v<R>, char,
                                    std::conditional_t<std::is_reference_v<R>, std::remove_reference_t<R>*, R>>;

 public:
  result() noexcept {}
  result(const result&) = delete;
  result& operator=(const result&) = delete;
  ~result() { clear(); }

  /// Calls `f` and keeps how it ended; lets nothing escape but a forced unwind.
  template <class F>
  void fill(F&& f) {
    try {
      if constexpr (std::is_void_v<R>) {
        std::forward<F>(f)();
      } else if constexpr (std::is_reference_v<R>) {
        ::new (&value_) stored(std::addressof(std::forward<F>(f)()));
      } else {
        ::new (&value_) stored(std::forward<F>(f)());
      }
      state_ = result_state::value;
    } catch (const cancelled&) {
      state_ = result_state::cancelled;
    } catch (...) {
      ::new (&error_) std::exception_ptr(std::current_exception());
      state_ = result_state::exception;
    }
  }

  result_state state() const noexcept { return state_; }

  /// Returns the value or throws the exception; once. The caller has checked that there is one.
  R take() {
    switch (std::exchange(state_, result_state::taken)) {
      case result_state::exception: {
        std::exception_ptr error = std::move(error_);
        error_.~exception_ptr();
        std::rethrow_exception(std::move(error));
      }
      case result_state::cancelled: throw cancelled{};
      default: break;
    }
    if constexpr (std::is_void_v<R>) {
      return;
    } else if constexpr (std::is_reference_v<R>) {
      return static_cast<R>(*value_);
    } else {
      struct destroy_after {
        stored& v;
        ~destroy_after() { v.~stored(); }
      } guard{value_};
      return std::move(value_);
    }
  }

  /// Returns the value, which stays, or throws the exception, which counts as collected. Any number of threads.
  typename const_result<R>::type share() const {
    if (state_ == result_state::exception) std::rethrow_exception(error());
    if (state_ == result_state::cancelled) throw cancelled{};
    if constexpr (std::is_void_v<R>) {
      return;
    } else if constexpr (std::is_reference_v<R>) {
      return *value_;
    } else {
      return value_;
    }
  }

  /// Returns the exception, which stays and counts as collected; null if there is none.
  std::exception_ptr error() const noexcept {
    if (state_ != result_state::exception) return nullptr;
    collected_.store(true, std::memory_order_relaxed);
    return error_;
  }

  /// Drops what is left. Returns the exception that nobody took, or null.
  std::exception_ptr clear() noexcept {
    std::exception_ptr error;
    if (state_ == result_state::exception) {
      if (!collected_.load(std::memory_order_relaxed)) error = std::move(error_);
      error_.~exception_ptr();
    } else if (state_ == result_state::value) {
      if constexpr (!std::is_trivially_destructible_v<stored>) value_.~stored();
    }
    state_ = result_state::taken;
    return error;
  }

 private:
  union {
    stored value_;
    std::exception_ptr error_;
  };
  result_state state_ = result_state::empty;
  mutable std::atomic<bool> collected_{false};
};

}  // namespace bide::detail
