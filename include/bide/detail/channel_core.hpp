#pragma once

#include <bide/detail/export.hpp>
#include <bide/wait.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bide::core {
struct waiter;
}

namespace bide::detail {

/// A value on its way; made by the sender, unmade by who receives it or by the channel's end.
struct channel_item {
  channel_item* next = nullptr;
};

/// One who waits at a channel; on its own stack.
struct channel_place {
  core::waiter* who = nullptr;
  channel_item* item = nullptr;  ///< To be sent; or received.
  channel_place* next = nullptr;
  channel_place* previous = nullptr;
  bool on = false;      ///< guarded by the channel's lock
  bool served = false;  ///< guarded by the channel's lock: its item has been handed over, or it has one
};

struct channel_places {
  channel_place* head = nullptr;
  channel_place* tail = nullptr;
};

/// A channel without its type; the code is lib/task/channel.
class channel_core {
 public:
  explicit channel_core(std::size_t capacity) noexcept : capacity_(capacity) {}
  channel_core(const channel_core&) = delete;

  /// Returns ready with the item taken over, closed, or how the wait ended.
  BIDE_API wait_result send(channel_item*, deadline);
  /// Returns ready with an item, closed when none will come, or how the wait ended.
  BIDE_API wait_result receive(channel_item*&, deadline);
  /// As send and receive, without waiting: expired is "not now".
  BIDE_API wait_result try_send(channel_item*) noexcept;
  BIDE_API wait_result try_receive(channel_item*&) noexcept;
  /// Throws std::system_error EBADF if it is closed already.
  BIDE_API void close();
  BIDE_API bool closed() const noexcept;
  BIDE_API std::size_t size() const noexcept;
  std::size_t capacity() const noexcept { return capacity_; }
  /// At its end: what nobody received, one after another.
  BIDE_API channel_item* drain() noexcept;

  /// For select, which waits in several places: does it at once if it can, else enlists. Returns whether it was done.
  bool send_or_enlist(channel_place&) noexcept;
  bool receive_or_enlist(channel_place&) noexcept;
  /// Leaves the list. Returns whether it was served.
  bool withdraw(channel_place&, bool sends) noexcept;

 private:
  wait_result send_locked(channel_item*, core::waiter* by) noexcept;
  wait_result receive_locked(channel_item*&, core::waiter* by) noexcept;
  channel_place* serve_one(channel_places&, core::waiter* by) noexcept;
  channel_item* take() noexcept;
  void put(channel_item*) noexcept;

  mutable std::atomic<std::uint32_t> lock_{0};
  bool closed_ = false;             // guarded by lock_, as the rest
  channel_places senders_, receivers_;
  channel_item* first_ = nullptr;
  channel_item* last_ = nullptr;
  std::size_t count_ = 0;
  const std::size_t capacity_;
};

[[noreturn]] BIDE_API void throw_channel_closed();

}  // namespace bide::detail
