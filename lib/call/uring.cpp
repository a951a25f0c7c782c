// io_uring_enter(2): waits for completions as for any descriptor, by the ring's readiness.
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>

#include "lib/base/clock.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/descriptor.hpp"
#include "lib/call/families.hpp"
#include "lib/call/mask.hpp"
#include "lib/call/partial.hpp"
#ifdef BIDE_PRELOAD
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#endif

namespace bide::call {
namespace {

constexpr unsigned wide_completions = 1u << 11 | 1u << 18;  // IORING_SETUP_CQE32, Linux 5.19, and CQE_MIXED, 6.18
constexpr unsigned defers = 1u << 13;                       // IORING_SETUP_DEFER_TASKRUN, Linux 6.1

#ifdef BIDE_PRELOAD
// In the kernel, and again when only another thread's signal ended it. Interrupted in its wait the kernel says what was
// submitted, as if nothing had come, so what is to be submitted is submitted first.
long enter_in_kernel(long fd, long submit, long least, long flags, long argument, long size) noexcept {
  core::thread& me = *core::this_thread();
  long submitted = 0;
  if (submit && least && (flags & IORING_ENTER_GETEVENTS)) {
    submitted = attempt(SYS_io_uring_enter, fd, submit, 0, flags & ~long{IORING_ENTER_GETEVENTS}, argument, size);
    if (submitted < submit) return submitted;
    submit = 0;
  }
  for (;;) {
    const long answer = core::call_kernel(SYS_io_uring_enter, fd, submit, least, flags, argument, size);
    if (answer == -EINTR) {
      core::route_signals(*core::this_worker());
      me.restartable = false;
      if (!core::has_deliverable(me)) continue;
    }
    return submitted ? submitted : answer;
  }
}
#else
// On the worker: a ring's completions may need the very thread that made it, IORING_SETUP_SINGLE_ISSUER.
long enter_in_kernel(long fd, long submit, long least, long flags, long argument, long size) noexcept {
  return attempt(SYS_io_uring_enter, fd, submit, least, flags, argument, size);
}
#endif

// How long it waits, and under what mask: by IORING_ENTER_EXT_ARG's argument, or by the mask alone.
struct terms {
  const long flags, argument, size;  // the caller's
  std::int64_t until = base::never;
  const void* mask = nullptr;
  std::size_t mask_size = 0;

  // Returns whether they can be kept here: what can't be read is the kernel's to refuse.
  bool read() noexcept {
    if (!(flags & IORING_ENTER_EXT_ARG)) {
      mask = reinterpret_cast<void*>(argument);
      mask_size = static_cast<std::size_t>(size);
      return true;
    }
    io_uring_getevents_arg given;
    __kernel_timespec length;
    if (size != sizeof given || copy_in(&given, reinterpret_cast<void*>(argument), sizeof given) || given.pad) return false;
    mask = reinterpret_cast<void*>(given.sigmask);
    mask_size = given.sigmask_sz;
    if (!given.ts) return true;
    if (copy_in(&length, reinterpret_cast<void*>(given.ts), sizeof length) || length.tv_sec < 0 || length.tv_nsec < 0) return false;
    if (length.tv_sec < base::never / base::second - 1) until = base::after(base::now(), length.tv_sec * base::second + length.tv_nsec);
    return true;
  }
};

// Where a completion queue is in what a ring shows by mmap(2): the same for every ring of a kernel.
std::atomic<std::uint32_t> head_at{0}, tail_at{0}, entries_at{0}, completions_at{0};

io::fd_kind kind_of(unsigned flags) noexcept {
  if (flags & wide_completions) return flags & defers ? io::fd_kind::unknown : io::fd_kind::wide_ring;
  return flags & defers ? io::fd_kind::deferring_ring : io::fd_kind::ring;
}

// Whether a wait for so many can be told of them.
bool tells(io::fd_kind k, unsigned least) noexcept {
  return k == io::fd_kind::ring || k == io::fd_kind::deferring_ring || (k == io::fd_kind::wide_ring && least == 1);
}

// A ring's memory, as io_uring_setup(2) lays it out.
class completion_queue {
 public:
  explicit completion_queue(int ring) noexcept {
    if (!show(ring, page)) return;
    entries_ = word(entries_at);
    const std::size_t size = completions_at.load(std::memory_order_relaxed) + entries_ * sizeof(io_uring_cqe);
    if (size > page) {
      hide();
      show(ring, size);
    }
  }
  ~completion_queue() { hide(); }
  completion_queue(const completion_queue&) = delete;

  bool shown() const noexcept { return at_; }
  std::uint32_t entries() const noexcept { return entries_; }
  std::uint32_t tail() const noexcept { return word(tail_at); }
  std::uint32_t count() const noexcept { return tail() - word(head_at); }
  int result(std::uint32_t place) const noexcept {
    const auto* all = reinterpret_cast<const io_uring_cqe*>(at_ + completions_at.load(std::memory_order_relaxed));
    return __atomic_load_n(&all[place & (entries_ - 1)].res, __ATOMIC_RELAXED);
  }

 private:
  static constexpr std::size_t page = 4096;

  bool show(int ring, std::size_t size) noexcept {
    const long at = sys::raw(SYS_mmap, nullptr, size, PROT_READ, MAP_SHARED, ring, IORING_OFF_CQ_RING);
    at_ = sys::failed(at) ? nullptr : reinterpret_cast<const char*>(at);
    size_ = size;
    return at_;
  }
  void hide() noexcept {
    if (at_) sys::raw(SYS_munmap, at_, size_);
  }
  std::uint32_t word(const std::atomic<std::uint32_t>& at) const noexcept {
    return __atomic_load_n(reinterpret_cast<const std::uint32_t*>(at_ + at.load(std::memory_order_relaxed)), __ATOMIC_ACQUIRE);
  }

  const char* at_ = nullptr;
  std::size_t size_ = 0;
  std::uint32_t entries_ = 0;
};

// An eventfd that is registered with a ring for the time of a wait, and so tells of what is due there as well; one that the
// program has registered leaves no room.
class due {
 public:
  explicit due(const fd_call& ring) noexcept : ring_(ring) {
    const long made = attempt(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    fd_ = made < 0 ? -1 : io::adopt_own_fd(static_cast<int>(made));
    if (fd_ < 0 || sys::raw(SYS_io_uring_register, ring.fd(), IORING_REGISTER_EVENTFD, &fd_, 1) == 0) return;
    io::close_own_fd(fd_);
    fd_ = -1;
  }
  ~due() {
    if (fd_ < 0) return;
    if (ring_.same_owner()) sys::raw(SYS_io_uring_register, ring_.fd(), IORING_UNREGISTER_EVENTFD, nullptr, 0);
    ring_.reactor().forget(fd_);
    io::close_own_fd(fd_);
  }
  due(const due&) = delete;

  int fd() const noexcept { return fd_; }
  void heard() const noexcept {
    std::uint64_t count;
    sys::raw(SYS_read, fd_, &count, sizeof count);
  }

 private:
  const fd_call& ring_;
  int fd_;
};

// Whether there are completions, as poll(2) tells.
class any_completion {
 public:
  explicit any_completion(const fd_call& ring) noexcept : ring_(ring) {}
  bool known() const noexcept { return true; }
  bool any() const noexcept { return poll_now(ring_.fd(), POLLIN) != 0; }
  bool enough() noexcept { return any(); }
  int told_by() const noexcept { return ring_.fd(); }
  void heard() const noexcept {}

 private:
  const fd_call& ring_;
};

// How many there are, as the queue itself tells.
class so_many_completions {
 public:
  so_many_completions(const fd_call& ring, unsigned least) noexcept
      : queue_(ring.fd()), due_(ring), least_(std::min(least, queue_.entries())), seen_(queue_.shown() ? queue_.tail() : 0) {}
  bool known() const noexcept { return queue_.shown() && due_.fd() >= 0; }
  bool any() const noexcept { return queue_.count() != 0; }
  // io_uring_enter(2): a timeout that passes wakes "anyone waiting for events", however many there are.
  bool enough() noexcept {
    for (const std::uint32_t end = queue_.tail(); seen_ != end; ++seen_) timeout_passed_ |= queue_.result(seen_) == -ETIME;
    return timeout_passed_ || queue_.count() >= least_;
  }
  int told_by() const noexcept { return due_.fd(); }
  void heard() const noexcept { due_.heard(); }

 private:
  const completion_queue queue_;
  const due due_;
  const std::uint32_t least_;
  std::uint32_t seen_;
  bool timeout_passed_ = false;
};

// Waits until there may be more. Returns 0 to look again, or -EINTR, -ECANCELED, -ETIMEDOUT, -EBADF, -ENOMEM.
long wait_for_more(const fd_call& c, int told_by, std::int64_t until) noexcept {
  const long end = c.reactor().wait(told_by, readiness::readable, c.name(), std::min(trusted_until(), until));
  if (signal_seen(true) == after_signal::report && end != -ECANCELED) return -EINTR;
  if (end != -ETIME) return end;
  c.reactor().renew(told_by);
  return 0;
}

// Returns as io_uring_enter(2) that submits nothing: what ends the wait counts only where there is no completion at all.
template <class Completions>
long await(const fd_call& c, Completions&& all, long least, long flags, const terms& how) noexcept {
  if (!all.known()) return enter_in_kernel(c.fd(), 0, least, how.flags, how.argument, how.size);
  if (all.enough()) return 0;
  const mask_for_wait masked(how.mask, how.mask_size);
  if (masked.error()) return masked.error();
  // Some rings' completions are only made by who enters: io_uring_setup(2), IORING_SETUP_COOP_TASKRUN. And nothing tells of
  // those that were due before it listens.
  const auto look = [&] {
    attempt(SYS_io_uring_enter, c.fd(), 0, 0, flags, 0, 0);
    return all.enough();
  };
  long end = 0;
  for (bool enough = look(); !enough && !end;) {
    if (masked.interrupted()) {
      end = -EINTR;
    } else if (how.until != base::never && base::now() >= how.until) {
      end = -ETIME;
    } else if ((end = wait_for_more(c, all.told_by(), how.until)) == 0) {
      all.heard();
      enough = look();
    }
  }
  if (end && all.any()) {
    as_far(1, end);  // a cancel is for the next call
    end = 0;
  }
  return masked.end(end);
}

}  // namespace

// A ring without IORING_SETUP_IOPOLL says by poll(2) that there are completions: io_uring_setup(2).
long io_uring_setup_call(long entries, long parameters, long, long, long, long) {
  const long fd = attempt(SYS_io_uring_setup, entries, parameters);
  if (fd < 0) return fd;
  made(static_cast<int>(fd));
  const auto* p = reinterpret_cast<const io_uring_params*>(parameters);
  head_at.store(p->cq_off.head, std::memory_order_relaxed);
  tail_at.store(p->cq_off.tail, std::memory_order_relaxed);
  entries_at.store(p->cq_off.ring_entries, std::memory_order_relaxed);
  completions_at.store(p->cq_off.cqes, std::memory_order_relaxed);
  if (p->flags & IORING_SETUP_IOPOLL) return fd;
  if (io::fd_facts* f = io::facts(static_cast<int>(fd))) f->kind.store(kind_of(p->flags), std::memory_order_relaxed);
  return fd;
}

long io_uring_enter_call(long fd, long submit, long least, long flags, long argument, long size) {
  const fd_call c(static_cast<int>(fd), readiness::readable, "io_uring_enter");
#ifdef BIDE_PRELOAD
  core::keep_kernel_thread();
#endif
  constexpr long kept = IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT | IORING_ENTER_EXT_ARG;
  const auto wanted = static_cast<unsigned>(least);
  terms how{flags, argument, size};
  const bool parks = (flags & IORING_ENTER_GETEVENTS) && !(flags & ~kept) && wanted && tells(c.kind(), wanted) && how.read();
  if (!parks) return enter_in_kernel(fd, submit, least, flags, argument, size);
  const long alone = flags & ~long{IORING_ENTER_EXT_ARG};
  const long submitted = attempt(SYS_io_uring_enter, fd, submit, 0, alone, 0, 0);
  // Where fewer were there to be submitted than the caller says, the kernel doesn't wait.
  if (submitted < static_cast<long>(static_cast<unsigned>(submit))) return submitted;
  const bool by_poll = wanted == 1 && c.kind() != io::fd_kind::deferring_ring;
  const long end = by_poll ? await(c, any_completion(c), least, alone, how)
                           : await(c, so_many_completions(c, wanted), least, alone, how);
  return submitted ? submitted : end;
}

}  // namespace bide::call
