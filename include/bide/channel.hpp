/// Passing values between fibers, workers and threads.
#pragma once

#include <bide/detail/channel_core.hpp>

#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace bide {

namespace detail {
template <class T>
struct item_of : channel_item {
  template <class... Args>
  explicit item_of(Args&&... args) : value(std::forward<Args>(args)...) {}
  T value;
};
}  // namespace detail

/// The capacity of a channel that always has room.
inline constexpr std::size_t unbounded = SIZE_MAX;

/// A queue of values between any number of senders and receivers: Go's channel.
///
///     bide::channel<int> squares(10);
///     bide::spawn([&] { for (int i = 0; i < 100; ++i) squares.send(i * i); squares.close(); });
///     for (int n : squares) use(n);
///
/// Parks:    send() while it is full, receive() while it is empty; on a plain thread, blocks the thread.
/// Threads:  any, fibers of any runtime and plain threads. Both sides are served in order of arrival.
/// Owns:     what was sent and not received, until its end; nobody may be using it then.
template <class T>
class channel {
 public:
  using value_type = T;

  /// With no capacity, a send waits until its value is received.
  explicit channel(std::size_t capacity = 0) noexcept : core_(capacity) {}
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  ~channel() {
    while (detail::channel_item* i = core_.drain()) delete static_cast<item*>(i);
  }

  /// Errors:   std::system_error EPIPE if it is closed, also meanwhile; throws `cancelled` or `timed_out`. The value is
  ///           gone then; send_until keeps it.
  void send(T value) {
    auto made = std::make_unique<item>(std::move(value));
    const wait_result how = core_.send(made.get(), deadline::never());
    if (how == wait_result::closed) detail::throw_channel_closed();
    detail::must_be_ready(how);
    made.release();
  }
  /// Returns:  ready with the value moved from; expired, closed, cancelled or timed_out with it in place.
  [[nodiscard]] wait_result send_until(T& value, deadline until) {
    return give(value, [&](item* i) { return core_.send(i, until); });
  }
  /// Sends if that needs no wait. Never parks.
  ///
  /// Returns:  ready; expired when there is no room, or closed, with the value in place.
  [[nodiscard]] wait_result try_send(T& value) {
    return give(value, [&](item* i) { return core_.try_send(i); });
  }

  /// Returns:  the next value, or nothing when the channel is closed and empty.
  /// Errors:   throws `cancelled` or `timed_out`.
  std::optional<T> receive() {
    detail::channel_item* i = nullptr;
    const wait_result how = core_.receive(i, deadline::never());
    if (how == wait_result::closed) return std::nullopt;
    detail::must_be_ready(how);
    return unwrap(i);
  }
  /// Returns:  ready with a value in `out`; expired, closed, cancelled or timed_out with `out` left alone.
  [[nodiscard]] wait_result receive_until(std::optional<T>& out, deadline until) {
    detail::channel_item* i = nullptr;
    const wait_result how = core_.receive(i, until);
    if (how == wait_result::ready) out = unwrap(i);
    return how;
  }
  /// Returns what is there without a wait, or nothing. Never parks.
  std::optional<T> try_receive() {
    detail::channel_item* i = nullptr;
    return core_.try_receive(i) == wait_result::ready ? std::optional<T>(unwrap(i)) : std::nullopt;
  }

  /// Says that nothing more will be sent: senders that wait, and those to come, fail; what is in it can be received.
  ///
  /// Errors:   std::system_error EBADF if it is closed already.
  void close() { core_.close(); }
  bool closed() const noexcept { return core_.closed(); }
  /// Returns how many values are in it now.
  std::size_t size() const noexcept { return core_.size(); }
  std::size_t capacity() const noexcept { return core_.capacity(); }

  /// Receives until it is closed and empty.
  class iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    T& operator*() const noexcept { return *now_; }
    iterator& operator++() {
      now_ = from_->receive();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return !now_; }

   private:
    friend channel;
    explicit iterator(channel& c) : from_(&c), now_(c.receive()) {}
    channel* from_;
    mutable std::optional<T> now_;
  };
  iterator begin() { return iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  template <class U, class F>
  friend class receive_case;
  template <class U, class F>
  friend class send_case;
  using item = detail::item_of<T>;

  static T unwrap(detail::channel_item* i) {
    const std::unique_ptr<item> owned(static_cast<item*>(i));
    return std::move(owned->value);
  }
  template <class Send>
  wait_result give(T& value, Send send) {
    auto made = std::make_unique<item>(std::move(value));
    const wait_result how = send(made.get());
    if (how == wait_result::ready)
      made.release();
    else
      value = std::move(made->value);
    return how;
  }

  detail::channel_core core_;
};

}  // namespace bide
