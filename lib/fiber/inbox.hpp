// Another thread's way to reach a worker: messages that the worker delivers to itself between fibers.
#pragma once

#include <atomic>

namespace bide::core {

// Lives in whatever it is about; in one inbox at a time.
struct message {
  message* next = nullptr;
  void (*deliver)(message&) noexcept = nullptr;  // on the worker, in its loop context
  void* about = nullptr;                         // what it is about, as `deliver` understands it
};

class inbox {
 public:
  // Any thread. Returns false, with nothing posted, when the worker has ended.
  bool post(message& m) noexcept {
    message* head = head_.load(std::memory_order_relaxed);
    do {
      if (head == closed()) return false;
      m.next = head;
      // Release: the worker sees what the message is about. seq_cst: ordered before the poster's look at `asleep`.
    } while (!head_.compare_exchange_weak(head, &m, std::memory_order_seq_cst, std::memory_order_relaxed));
    return true;
  }

  bool empty() const noexcept { return head_.load(std::memory_order_seq_cst) == nullptr; }

  // The worker only. Delivers in order of arrival.
  void deliver_all() noexcept {
    if (head_.load(std::memory_order_relaxed)) deliver_list(head_.exchange(nullptr, std::memory_order_acquire));
  }

  void open() noexcept { head_.store(nullptr, std::memory_order_release); }
  // The worker only: what came before is delivered, what comes later is refused.
  void close() noexcept { deliver_list(head_.exchange(closed(), std::memory_order_acq_rel)); }
  // In the child of a fork: what was on its way is for fibers that are not there.
  void close_unread() noexcept { head_.store(closed(), std::memory_order_release); }

 private:
  static message* closed() noexcept { return reinterpret_cast<message*>(1); }
  static void deliver_list(message* newest) noexcept {
    message* oldest = nullptr;
    while (newest) {
      message* next = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = next;
    }
    while (oldest) {
      message* m = oldest;
      oldest = m->next;  // read first: delivering may end m's life
      m->deliver(*m);
    }
  }

  std::atomic<message*> head_{closed()};
};

}  // namespace bide::core
