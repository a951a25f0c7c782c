#include "lib/io/ring.hpp"

#include <errno.h>
#include <linux/io_uring.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "lib/fiber/park.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/sys/features.hpp"
#include "lib/sys/raw.hpp"

// Linux 5.19; older headers lack it.
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8)
#endif

namespace bide::io {
namespace {

// The rings are shared with the kernel: io_uring(7) names the pairs. Our store of the submission tail pairs with the
// kernel's load of it, its store of the completion tail with our load.
std::uint32_t load(std::uint32_t* at) noexcept {
  return std::atomic_ref<std::uint32_t>(*at).load(std::memory_order_acquire);
}
void store(std::uint32_t* at, std::uint32_t value) noexcept {
  std::atomic_ref<std::uint32_t>(*at).store(value, std::memory_order_release);
}

void* map(int fd, std::size_t size, long long offset) noexcept {
  const long p = sys::raw(SYS_mmap, nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  return sys::failed(p) ? nullptr : reinterpret_cast<void*>(p);
}

}  // namespace

int ring::open() noexcept {
  if (!sys::features().io_uring) return -ENOSYS;
  io_uring_params params{};
  params.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN;
  params.cq_entries = 4096;
  long fd = sys::raw(SYS_io_uring_setup, 64, &params);
  if (fd == -EINVAL) {
    params = {};
    params.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    params.cq_entries = 4096;
    fd = sys::raw(SYS_io_uring_setup, 64, &params);
  }
  if (fd >= 0 && !(params.features & IORING_FEAT_SINGLE_MMAP)) {
    sys::raw(SYS_close, fd);
    fd = -ENOSYS;
  }
  if (fd < 0) {
    if (fd != -EMFILE && fd != -ENFILE && fd != -ENOMEM) sys::features().io_uring = false;
    return static_cast<int>(fd);
  }
  const int own = adopt_own_fd(static_cast<int>(fd));
  if (own < 0) return own;
  fd_ = own;

  map_size_ = std::max<unsigned long>(params.sq_off.array + params.sq_entries * sizeof(std::uint32_t),
                                      params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  sqes_size_ = params.sq_entries * sizeof(io_uring_sqe);
  map_ = map(fd_, map_size_, IORING_OFF_SQ_RING);
  sqes_ = map_ ? static_cast<io_uring_sqe*>(map(fd_, sqes_size_, IORING_OFF_SQES)) : nullptr;
  if (!sqes_) {
    close();
    return -ENOMEM;
  }
  auto* base = static_cast<char*>(map_);
  const auto at = [base](std::uint32_t offset) { return reinterpret_cast<std::uint32_t*>(base + offset); };
  sq_tail_ = at(params.sq_off.tail);
  sq_mask_ = at(params.sq_off.ring_mask);
  sq_array_ = at(params.sq_off.array);
  sq_flags_ = at(params.sq_off.flags);
  cq_head_ = at(params.cq_off.head);
  cq_tail_ = at(params.cq_off.tail);
  cq_mask_ = at(params.cq_off.ring_mask);
  cqes_ = reinterpret_cast<io_uring_cqe*>(base + params.cq_off.cqes);
  return 0;
}

void ring::close() noexcept {
  if (map_) sys::raw(SYS_munmap, map_, map_size_);
  if (sqes_) sys::raw(SYS_munmap, sqes_, sqes_size_);
  close_own_fd(fd_);
  *this = ring{};
}

int ring::push(const ring_op& op, std::uint64_t user_data) noexcept {
  const std::uint32_t tail = *sq_tail_, index = tail & *sq_mask_;
  io_uring_sqe& sqe = sqes_[index];
  std::memset(&sqe, 0, sizeof sqe);
  sqe.opcode = op.opcode;
  sqe.fd = op.fd;
  sqe.addr = reinterpret_cast<std::uint64_t>(op.address);
  sqe.off = op.offset;
  sqe.accept_flags = op.flags;
  sqe.user_data = user_data;
  sq_array_[index] = index;
  store(sq_tail_, tail + 1);
  for (;;) {
    const long taken = sys::raw(SYS_io_uring_enter, fd_, 1, 0, 0, nullptr, 0);
    if (taken == 1) return 0;
    if (taken == -EINTR) continue;
    store(sq_tail_, tail);  // not taken: nobody has seen it
    return taken < 0 ? static_cast<int>(taken) : -EAGAIN;
  }
}

int ring::submit(ring_op& op) noexcept {
  op.done = false;
  const int error = push(op, reinterpret_cast<std::uint64_t>(&op));
  if (!error) reap();
  return error;
}

void ring::cancel(ring_op& op) noexcept {
  ring_op request;
  request.opcode = IORING_OP_ASYNC_CANCEL;
  request.address = &op;
  push(request, 0);
  reap();
}

void ring::reap() noexcept {
  if (fd_ < 0) return;
  if (load(sq_flags_) & IORING_SQ_CQ_OVERFLOW) [[unlikely]]
    sys::raw(SYS_io_uring_enter, fd_, 0, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
  std::uint32_t head = *cq_head_;
  while (head != load(cq_tail_)) {
    const io_uring_cqe cqe = cqes_[head & *cq_mask_];
    store(cq_head_, ++head);
    auto* op = reinterpret_cast<ring_op*>(cqe.user_data);
    if (!op) continue;  // the answer to a cancel
    op->result = cqe.res;
    op->done = true;
    if (op->who) core::wake(*op->who, wait_result::ready);
  }
}

}  // namespace bide::io
