/// Running on a kernel thread what no loop can wait for.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/result.hpp>

#include <functional>
#include <type_traits>

namespace bide {

namespace detail {
BIDE_API void offload(void (*work)(void*), void* argument);
}

/// Runs `f` on an offload thread while other fibers run, and returns what it returns.
///
/// For what would hold the worker: long computations, fsync(2), libraries that wait in ways no door sees. `f` is on a
/// plain thread: its own errno and thread_locals, and bide's calls block there.
///
/// Parks:    until `f` has returned, also when the fiber is cancelled meanwhile, because `f` may use the fiber's stack;
///           the cancellation stays for the next wait. On a plain thread, calls `f` there and then.
/// Errors:   rethrows what `f` threw. std::system_error EAGAIN if no thread can be had.
template <class F>
std::invoke_result_t<F&> offload(F&& f) {
  using R = std::invoke_result_t<F&>;
  detail::result<R> out;
  auto work = [&] { out.fill([&]() -> R { return std::invoke(f); }); };
  detail::offload([](void* p) { (*static_cast<decltype(work)*>(p))(); }, &work);
  return out.take();
}

}  // namespace bide
