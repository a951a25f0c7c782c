#pragma once

#include <bide/detail/frame.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace bide::core {
struct waiter;
}

namespace bide::detail {

/// Tasks that one fiber or thread waits for; which of them have ended, in that order.
class task_set {
 public:
  explicit task_set(std::size_t room);
  BIDE_API ~task_set();
  task_set(const task_set&) = delete;
  task_set& operator=(const task_set&) = delete;

  /// Throws std::system_error EINVAL for an empty handle. `may_cancel`: when the wait for all is ended from outside.
  BIDE_API void add(fiber*, frame*, bool may_cancel);
  std::size_t size() const noexcept { return count_; }

  /// Waits for the next that ends and returns its place; EINVAL when there is none left.
  BIDE_API std::size_t wait_for_next();
  /// Waits until all have ended; as soon as one has not ended well, throws what it threw.
  BIDE_API void wait_for_all();

 private:
  struct member : watch {
    task_set* set = nullptr;
    fiber* who = nullptr;
    frame* its = nullptr;
    member* later = nullptr;  // ended after this one; guarded by lock_
    bool may_cancel = false;
    bool own_step = false;  // it goes on only when the thread that waits steps its runtime
  };
  member* take();
  member* wait();
  void ended(member&) noexcept;
  bool stuck() const noexcept { return taken_ < count_ && own_steps_ == count_ - taken_; }

  std::unique_ptr<member[]> members_;
  std::size_t count_ = 0, taken_ = 0, own_steps_ = 0;
  std::atomic<std::uint32_t> lock_{0};
  member* first_ = nullptr;          // guarded by lock_
  member* last_ = nullptr;           // guarded by lock_; means something while first_ is not null
  core::waiter* waiting_ = nullptr;  // guarded by lock_
};

inline task_set::task_set(std::size_t room) : members_(std::make_unique<member[]>(room)) {}

}  // namespace bide::detail
