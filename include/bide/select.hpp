/// Waiting for whichever comes first: channels, times, descriptors, tasks.
#pragma once

#include <bide/channel.hpp>
#include <bide/gather.hpp>
#include <bide/task.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace bide {

namespace detail {

/// One of the things that a select waits for.
class select_case {
 public:
  enum class kind : unsigned char { receive, send, time, readable, writable, task, otherwise };
  explicit select_case(kind k) noexcept : what(k) {}
  select_case(const select_case&) = delete;

  const kind what;
  channel_core* through = nullptr;
  channel_place place;
  bool closed = false;  ///< Of a channel: it is.
  int fd = -1;
  deadline until;
  frame* its = nullptr;

 protected:
  ~select_case() = default;
};

/// Returns the place of the one that came.
BIDE_API std::size_t select(select_case* const* cases, std::size_t count);

template <class F>
class plain_case : public select_case {
 public:
  plain_case(kind k, F f) : select_case(k), then_(std::move(f)) {}
  void call() { std::invoke(then_); }

 private:
  F then_;
};

}  // namespace detail

template <class T, class F>
class receive_case : public detail::select_case {
 public:
  receive_case(channel<T>& from, F f) : select_case(kind::receive), then_(std::move(f)) { through = &from.core_; }
  void call() {
    std::optional<T> value;
    if (!closed) value = bide::channel<T>::unwrap(place.item);
    if constexpr (std::is_invocable_v<F&, std::optional<T>>) {
      std::invoke(then_, std::move(value));
    } else {
      if (!value) detail::throw_channel_closed();
      std::invoke(then_, std::move(*value));
    }
  }

 private:
  F then_;
};

template <class T, class F>
class send_case : public detail::select_case {
 public:
  send_case(channel<T>& to, T value, F f)
      : select_case(kind::send), item_(std::make_unique<detail::item_of<T>>(std::move(value))), then_(std::move(f)) {
    through = &to.core_;
    place.item = item_.get();
  }
  void call() {
    if (closed) detail::throw_channel_closed();
    item_.release();
    std::invoke(then_);
  }

 private:
  std::unique_ptr<detail::item_of<T>> item_;
  F then_;
};

/// A value received from a channel: `f(T)`, or `f(std::optional<T>)`, which gets nothing from a closed channel where the
/// first has EPIPE thrown.
template <class T, class F>
auto on_receive(channel<T>& from, F f) {
  return receive_case<T, F>(from, std::move(f));
}
/// A value taken by a channel: `f()`. A closed one throws EPIPE.
template <class T, class F>
auto on_send(channel<T>& to, std::type_identity_t<T> value, F f) {
  return send_case<T, F>(to, std::move(value), std::move(f));
}
/// A time: `f()`. One in the past comes if nothing else is there.
template <class F>
auto on_time(deadline until, F f) {
  struct timed : detail::plain_case<F> {
    timed(deadline at, F g) : detail::plain_case<F>(detail::select_case::kind::time, std::move(g)) { this->until = at; }
  };
  return timed(until, std::move(f));
}
template <class Rep, class Period, class F>
auto on_time(std::chrono::duration<Rep, Period> length, F f) {
  return on_time(deadline::after(length), std::move(f));
}
/// A descriptor that can be read, or whose peer has gone: `f()`. Only in a fiber.
template <class F>
auto on_readable(int fd, F f) {
  struct watched : detail::plain_case<F> {
    watched(int number, F g) : detail::plain_case<F>(detail::select_case::kind::readable, std::move(g)) { this->fd = number; }
  };
  return watched(fd, std::move(f));
}
/// A descriptor that can be written: `f()`. Only in a fiber.
template <class F>
auto on_writable(int fd, F f) {
  struct watched : detail::plain_case<F> {
    watched(int number, F g) : detail::plain_case<F>(detail::select_case::kind::writable, std::move(g)) { this->fd = number; }
  };
  return watched(fd, std::move(f));
}
/// A task that has ended, however it has: `f()`.
template <class Task, class F>
  requires detail::is_task<Task>::value
auto on_end(Task& t, F f) {
  struct ended : detail::plain_case<F> {
    ended(detail::frame* frame, F g) : detail::plain_case<F>(detail::select_case::kind::task, std::move(g)) { this->its = frame; }
  };
  return ended(detail::task_access::frame_of(detail::task_of(t)), std::move(f));
}
/// What to do when nothing else is there: the select does not wait.
template <class F>
auto otherwise(F f) {
  return detail::plain_case<F>(detail::select_case::kind::otherwise, std::move(f));
}

/// Waits until one of the cases comes, calls its function, and returns its place, from 0. Of several that are there, one
/// by chance; exactly one happens.
///
///     bide::select(bide::on_receive(orders, [&](int n) { serve(n); }),
///                  bide::on_readable(fd, [&] { answer(fd); }),
///                  bide::on_time(1s, [] { puts("quiet"); }));
///
/// Parks:    until then; on a plain thread, blocks the thread.
/// Errors:   throws `cancelled` or `timed_out`, with nothing sent or received. std::system_error: EINVAL for no case at
///           all, a null task or a negative descriptor; EBADF for a descriptor that is closed, EPERM for one outside a
///           fiber; what the function throws.
template <class... Cases>
  requires(... && std::is_base_of_v<detail::select_case, std::remove_cvref_t<Cases>>)
std::size_t select(Cases&&... cases) {
  detail::select_case* all[sizeof...(Cases) + 1] = {&cases...};
  const std::size_t came = detail::select(all, sizeof...(Cases));
  std::size_t place = 0;
  ((place++ == came ? cases.call() : void()), ...);
  return came;
}

}  // namespace bide
