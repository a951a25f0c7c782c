// Requests to the kernel by io_uring: connect and accept.
//
// These two have no form that doesn't wait short of setting O_NONBLOCK, which belongs to the open file description and
// so to every process that holds it. A request waits in the kernel, for one call, and touches no flag; of several
// processes that accept on one socket each gets its own connections. Worker only.
#pragma once

#include <cstdint>

struct io_uring_sqe;
struct io_uring_cqe;

namespace bide::core {
struct waiter;
}

namespace bide::io {

struct ring_op {
  core::waiter* who = nullptr;  // woken as ready when it is done
  bool done = false;
  int result = 0;

  // What is asked.
  unsigned char opcode = 0;
  int fd = -1;
  const void* address = nullptr;
  std::uint64_t offset = 0;  // connect: the address's length; accept: where its length goes
  std::uint32_t flags = 0;   // accept4's
};

class ring {
 public:
  // Returns 0 or -errno: -ENOSYS or -EPERM where the kernel or its administrator has it turned off.
  int open() noexcept;
  void close() noexcept;
  bool is_open() const noexcept { return fd_ >= 0; }
  int fd() const noexcept { return fd_; }

  // Returns 0 or -errno. The op may be done already on return.
  int submit(ring_op&) noexcept;
  // Asks for an op to end; it is done, soon or at once, with -ECANCELED or with what it came to.
  void cancel(ring_op&) noexcept;
  // Marks what the kernel has finished as done and wakes the waiters. Costs no kernel call.
  void reap() noexcept;

 private:
  int push(const ring_op&, std::uint64_t user_data) noexcept;

  int fd_ = -1;
  void* map_ = nullptr;
  unsigned long map_size_ = 0, sqes_size_ = 0;
  io_uring_sqe* sqes_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
  std::uint32_t *sq_tail_ = nullptr, *sq_mask_ = nullptr, *sq_array_ = nullptr, *sq_flags_ = nullptr;
  std::uint32_t *cq_head_ = nullptr, *cq_tail_ = nullptr, *cq_mask_ = nullptr;
};

}  // namespace bide::io
