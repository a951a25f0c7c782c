// What the calls share: an attempt that doesn't wait, what to do when it would have, and again.
#pragma once

#include <errno.h>

#include <cstdint>

#include "lib/base/clock.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/io/reactor.hpp"
#include "lib/sys/raw.hpp"

namespace bide::call {

using io::readiness;

// Sees every attempt before the kernel does, on the thread that makes it; for tests, which script faults with it. Returns
// true with an answer, or false to ask the kernel.
using observer = bool (*)(long nr, const long (&arguments)[6], long& answer);
extern observer attempt_observer;

// The real call: one try, in a form that doesn't wait, or on another kernel thread that waits in its place.
template <class... Args>
long attempt(long nr, Args... args) noexcept {
  const long a[6] = {sys::word(args)...};
  long answer;
  if (attempt_observer && attempt_observer(nr, a, answer)) [[unlikely]] return answer;
  return bide_gate(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// How long a wait goes by what is remembered of a descriptor, before it looks again.
inline constexpr std::int64_t trust = 250'000'000;
// When what is remembered now is to be asked again. Where time jumps from wait to wait, seldom.
inline std::int64_t trusted_until() noexcept { return base::after(base::now(), base::shown_time() ? 240 * trust : trust); }

// Of a preloaded program every call comes by a door: nothing happens unseen to a description that nobody else holds.
#ifdef BIDE_PRELOAD
inline constexpr bool doors_see_all = true;
#else
inline constexpr bool doors_see_all = false;
#endif

// The caller's settings on a descriptor, as the kernel has them.
struct fd_settings {
  bool nonblocking;
  std::int64_t timeout;  // SO_RCVTIMEO or SO_SNDTIMEO in ns; base::never
};

// Whether a parked call was ended by a signal handler, and if so whether it must say EINTR. signal(7): a call under a
// timeout is not restarted.
enum class after_signal { go_on, report };
after_signal signal_seen(bool under_timeout) noexcept;

// A call in progress on one descriptor.
class fd_call {
 public:
  fd_call(int fd, readiness want, const char* name) noexcept
      : fd_(fd), want_(want), name_(name), facts_(io::facts(fd)), generation_(facts_ ? generation() : 0) {}

  int fd() const noexcept { return fd_; }
  io::fd_facts* facts() const noexcept { return facts_; }
  io::fd_kind kind() const noexcept {
    return facts_ ? facts_->kind.load(std::memory_order_relaxed) : io::fd_kind::unknown;
  }
  void set_kind(io::fd_kind k) noexcept {
    if (facts_) facts_->kind.store(k, std::memory_order_relaxed);
  }

  // An attempt would have waited: waits in its place. Returns 0 for another attempt, or what the call returns if it has
  // nothing to show: -EAGAIN (the caller asked not to wait, or the timeout passed), -EINTR, -ECANCELED, -ETIMEDOUT
  // (the deadline of a scope around it), -EBADF, -ENOMEM.
  // A call that has moved something is not restarted after a signal handler: it returns what it moved.
  enum class moved : bool { nothing, something };
  long wait(moved so_far = moved::nothing) noexcept;

  // unix(7) streams count SO_SNDTIMEO anew for each piece that found room.
  void restart_timeout() noexcept { begun_ = false; }

  // Would an attempt to read be in vain, and may the caller wait? Only where nobody else can have changed the
  // settings. Then wait() first: an event costs no more than the attempt that finds nothing.
  bool park_first() const noexcept {
    return facts_ && facts_->drained.load(std::memory_order_relaxed) && facts_->is_sole() &&
           facts_->asked.load(std::memory_order_relaxed) && !facts_->nonblocking.load(std::memory_order_relaxed);
  }
  // Notes what a read of `asked` bytes gave.
  void note_read(long got, std::size_t asked) noexcept {
    if (facts_ && facts_->drained.load(std::memory_order_relaxed) != (got > 0 && std::size_t(got) < asked))
      facts_->drained.store(got > 0 && std::size_t(got) < asked, std::memory_order_relaxed);
  }

  // The descriptor is not what it was taken for: goes on with `k`, and with nothing remembered.
  void correct_kind(io::fd_kind k) noexcept;
  // SO_RCVLOWAT was set: an attempt would take less than a waiting call does.
  bool below_low_water() const noexcept;
  // It has waited, on a unix(7) stream: such a sender learns of the peer's end without a SIGPIPE.
  bool quiet() noexcept;
  // A receiver of messages that has waited sees the end when its side is shut down, where an attempt says EAGAIN.
  bool at_end() const noexcept;
  bool waited() const noexcept { return waits_ != 0; }

  fd_settings settings() noexcept;
  // When the call must end by the descriptor's timeout, counted from the first ask.
  std::int64_t deadline() noexcept;
  // After a wait of `trust`: asks anew what was remembered, and has the kernel told anew to watch, in case something
  // happened to the descriptor where no door saw it. Returns whether the caller still wants to wait.
  bool look_again() noexcept;
  bool same_owner() const noexcept { return !facts_ || generation() == generation_; }
  io::reactor& reactor() const noexcept { return *core::this_worker()->reactor; }
  const char* name() const noexcept { return name_; }

 private:
  std::uint32_t generation() const noexcept { return facts_->generation.load(std::memory_order_relaxed); }

  const int fd_;
  const readiness want_;
  const char* const name_;
  io::fd_facts* const facts_;
  const std::uint32_t generation_;
  long back_off(std::int64_t until) noexcept;

  bool begun_ = false;
  bool looked_again_ = false;
  std::int64_t began_ = 0;
  unsigned waits_ = 0;  // ended as ready
  unsigned lies_ = 0;   // of these, in a row: the kernel says ready, and an attempt says not
  enum : signed char { not_asked = -1, no, yes } unix_stream_ = not_asked;
  std::int64_t until_ = base::never;
};

// Attempts until the call succeeds or fails for good. Returns what the kernel would: a count or -errno.
template <class Attempt>
long until_done(fd_call& c, Attempt attempt_once) noexcept {
  for (;;) {
    const long n = attempt_once();
    if (n != -EAGAIN) return n;
    if (c.at_end()) return 0;
    // Readiness is a hint: another fiber may drain the socket between our wake and our turn to run. So each wake buys
    // one more attempt, never a result.
    if (const long end = c.wait()) return end;
  }
}

// Learns what the descriptor is; used when the first guess was wrong.
io::fd_kind classify(int fd) noexcept;

// Would it be ready now? poll(2) with no time; `events` as there. Returns revents, or 0.
short poll_now(int fd, short events) noexcept;

// Copies from the caller's memory as the kernel does: returns 0 or -EFAULT.
long copy_in(void* to, const void* from, std::size_t size) noexcept;
long copy_out(void* to, const void* from, std::size_t size) noexcept;
#ifdef BIDE_PRELOAD
inline constexpr bool copies_are_cheap = true;
#else
inline constexpr bool copies_are_cheap = false;
#endif

// Parks until the descriptor may be ready, whatever O_NONBLOCK and timeouts are set. Returns 0 for another attempt, which
// comes after `trust` at the latest, or -ETIME, -EINTR, -ECANCELED, -EBADF, -ENOMEM. `under_timeout`: as signal_seen().
long await_ready(int fd, readiness which, const char* name, std::int64_t until = base::never,
                 bool under_timeout = false) noexcept;

// Reads a time limit given as a struct timespec. Returns 0 or -EFAULT, -EINVAL; `length` is in ns, at most base::never.
long read_time(const void* at, std::int64_t& length) noexcept;
// When an absolute time on CLOCK_REALTIME is there, on the monotonic clock.
std::int64_t from_realtime(std::int64_t when) noexcept;

// signal(7): this call says EINTR after a handler, whatever SA_RESTART says.
void not_restarted() noexcept;

// Waits by the call itself on another kernel thread, where the kernel has no form of it that doesn't wait. What ends any
// wait ends this one: a signal handler, a cancel, the close of `fd` (-1: none). `restarts`: a handler with SA_RESTART has
// it go on. What waits for others has a thread beyond options::offload_threads: they may need one first.
enum class restarts : bool { no, yes };
enum class waits_for : bool { others, machine };
long offloaded(waits_for, const char* name, int fd, restarts, long nr, long a, long b = 0, long c = 0, long d = 0, long e = 0,
               long f = 0) noexcept;
template <class... Args>
long offloaded(const char* name, int fd, restarts how, long nr, Args... args) noexcept {
  return offloaded(waits_for::others, name, fd, how, nr, sys::word(args)...);
}
// As one that would wait for the descriptor, with its timeout.
template <class... Args>
long offloaded(waits_for whom, fd_call& c, long nr, Args... args) noexcept {
  const bool timed = c.deadline() != base::never;
  return offloaded(whom, c.name(), c.fd(), timed ? restarts::no : restarts::yes, nr, sys::word(args)...);
}
template <class... Args>
long offloaded(fd_call& c, long nr, Args... args) noexcept {
  return offloaded(waits_for::others, c, nr, args...);
}

// As attempt(), or on an offload thread if options::files says so: for what waits for a disk.
long disk_call(long nr, long a, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) noexcept;

}  // namespace bide::call
