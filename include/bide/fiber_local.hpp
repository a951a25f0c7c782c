/// A variable of which each fiber has its own.
#pragma once

#include <bide/detail/export.hpp>

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace bide {

namespace detail {
BIDE_API std::uint64_t new_local_key() noexcept;
/// The caller's value, or null.
BIDE_API void* find_local(std::uint64_t key) noexcept;
BIDE_API void keep_local(std::uint64_t key, void* value, void (*destroy)(void*));
}  // namespace detail

/// What thread_local is for threads: a `T` for each fiber that asks for it, made then and destroyed at the fiber's end, on
/// the fiber, latest first. On a plain thread, the thread's own. asyncio's contextvars, but children don't inherit.
///
/// Threads:  any.
/// Owns:     values outlive the variable itself, until their fibers end.
template <class T>
class fiber_local {
 public:
  /// Each fiber's value begins as T().
  fiber_local() noexcept = default;
  fiber_local(const fiber_local&) = delete;
  fiber_local& operator=(const fiber_local&) = delete;

  /// Returns the caller's value, made if there is none yet.
  T& get() {
    if (T* there = get_if()) return *there;
    auto made = std::make_unique<T>();
    detail::keep_local(key_, made.get(), [](void* p) { delete static_cast<T*>(p); });
    return *made.release();
  }
  /// Returns the caller's value, or null if it has not asked for it yet.
  T* get_if() noexcept { return static_cast<T*>(detail::find_local(key_)); }
  T& operator*() { return get(); }
  T* operator->() { return &get(); }

 private:
  const std::uint64_t key_ = detail::new_local_key();
};

}  // namespace bide
