/// Starting a runtime.
#pragma once

#include <bide/detail/export.hpp>
#include <bide/detail/result.hpp>
#include <bide/options.hpp>

#include <functional>
#include <type_traits>

namespace bide {

namespace detail {
BIDE_API bool on_fiber() noexcept;
BIDE_API void run_runtime(const options& how, void (*body)(void*), void* argument);
}  // namespace detail

/// Runs `f` as the first fiber of a new runtime and returns what it returns.
///
/// The calling thread becomes the first worker until then. When `f` returns, fibers still alive are cancelled and
/// joined: each wait they are in or begin ends as cancelled, so they unwind and their destructors run.
///
/// Parks:    called in a fiber, runs `f` there and then in the same runtime; `how` is not looked at.
/// Threads:  any thread that is not a worker; several runtimes may run on several threads.
/// Errors:   rethrows what `f` threw. std::system_error: EINVAL for a bad option; EMFILE, ENFILE, ENOMEM or EAGAIN when
///           the loop, a stack or a worker's thread cannot be made; EDEADLK when every fiber is parked and nothing is
///           left that could wake one (each is named on stderr with what it waits for, then cancelled).
template <class F>
std::invoke_result_t<F&> run(F&& f, const options& how = {}) {
  using R = std::invoke_result_t<F&>;
  if (detail::on_fiber()) return std::invoke(f);
  detail::result<R> out;
  auto body = [&] { out.fill([&]() -> R { return std::invoke(f); }); };
  detail::run_runtime(how, [](void* p) { (*static_cast<decltype(body)*>(p))(); }, &body);
  return out.take();
}

}  // namespace bide
