/// Wrapping calls: observing, refusing, delaying or replacing what fibers ask of the kernel.
///
/// What <bide/calls.h> says of wrappers holds here: it is the same thing for C.
#pragma once

#include <bide/calls.h>
#include <bide/detail/export.hpp>
#include <bide/this_fiber.hpp>

#include <cerrno>
#include <functional>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace bide {

/// A call on its way through its wrappers.
class passing_call {
 public:
  explicit passing_call(bide_passing_call& c) noexcept : call_(c) {}
  /// SYS_read and kin.
  long number() const noexcept { return call_.number; }
  /// Its n-th word, from 0; may be changed before it goes on.
  long& operator[](int n) noexcept { return call_.arguments[n]; }
  /// Who makes it: this_fiber::id() there.
  unsigned long fiber() const noexcept { return call_.fiber; }
  /// Makes the call, by way of the wrappers further in. Returns a value or -errno.
  long go_on() noexcept { return bide_call_go_on(&call_); }

 private:
  bide_passing_call& call_;
};

/// Whose calls are wrapped.
enum class whose_calls : unsigned char { everybodys, this_fibers };

/// Wraps a call for as long as it lives. The function is called in place of the call, gets a passing_call, and returns what
/// the program is to get: a value or -errno. It outlives the wrapper where a call is still in it.
class [[nodiscard]] call_wrapper {
 public:
  call_wrapper() = default;
  /// Errors: throws std::system_error as bide_wrapper_add fails.
  template <class F>
    requires std::is_invocable_r_v<long, F&, passing_call&>
  call_wrapper(long number, F f, whose_calls whose = whose_calls::everybodys) {
    auto function = std::make_unique<F>(std::move(f));
    wrapper_.reset(bide_wrapper_add(
        number,
        [](bide_passing_call* c, void* data) {
          passing_call call(*c);
          return static_cast<long>(std::invoke(*static_cast<F*>(data), call));
        },
        function.get(), [](void* data) { delete static_cast<F*>(data); },
        whose == whose_calls::this_fibers ? this_fiber::id() : 0));
    if (!wrapper_) throw std::system_error(errno, std::generic_category(), "bide: wrapping a call");
    function.release();
  }

  /// Takes it away before its end.
  void remove() noexcept { wrapper_.reset(); }
  explicit operator bool() const noexcept { return wrapper_ != nullptr; }

 private:
  struct remover {
    void operator()(bide_wrapper* w) const noexcept { bide_wrapper_remove(w); }
  };
  std::unique_ptr<bide_wrapper, remover> wrapper_;
};

}  // namespace bide
