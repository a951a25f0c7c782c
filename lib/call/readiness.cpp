// poll, select, epoll_wait and kin: one wait for several descriptors.
//
// The kernel is asked with no time; when nothing is ready the fiber waits for all of them in the worker's loop, and asks
// again. What libev has no word for (priority data, a peer's half-close, errors alone) goes into an epoll set made for
// the one wait.
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "lib/base/arena.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/mask.hpp"
#include "lib/fiber/park.hpp"

namespace bide::call {
namespace {

constexpr short read_events = POLLIN | POLLRDNORM, write_events = POLLOUT | POLLWRNORM;
constexpr short always_told = POLLERR | POLLHUP;  // poll(2): "ignored in events", and reported to any who wait

// Does the worker's loop know the moment when poll(2) would say one of these?
bool seen_by_loop(short events, const io::reactor& reactor) noexcept {
  constexpr short plain = read_events | write_events;
  events &= ~(always_told | POLLNVAL);
  if (!(events & ~plain)) return events & plain;
  // A peer's half-close makes a descriptor readable as well; priority data is watched for along with reading.
  if (!(events & read_events) || (events & ~(plain | POLLRDHUP | POLLPRI))) return false;
  return !(events & POLLPRI) || reactor.sees_urgent();
}

long as_result(long end) noexcept {
  const bool signalled = signal_seen(true) == after_signal::report;
  if (signalled && end <= 0 && end != -ECANCELED) return -EINTR;  // signal(7): these are never restarted
  return end;
}

long sleep_a_little(const char* name, std::int64_t until, std::int64_t length = 5'000'000) noexcept {
  core::waiter w(core::waiter::reach::home);
  const std::int64_t again = std::min(until, base::after(base::now(), length));
  const wait_result how = core::park(w, {name, -1, true}, again, core::cancel_point::yes);
  if (how == wait_result::cancelled) return -ECANCELED;
  if (how == wait_result::timed_out) return -ETIMEDOUT;
  return how == wait_result::expired && again == until ? -ETIME : 0;
}

// Waits through an epoll set of its own.
long wait_by_epoll(const pollfd* fds, std::size_t count, const char* name, std::int64_t until) noexcept {
  const long made = sys::raw(SYS_epoll_create1, EPOLL_CLOEXEC);
  const int set = made < 0 ? static_cast<int>(made) : io::adopt_own_fd(static_cast<int>(made));
  // poll(2) itself needs no descriptor: without one left it looks now and then.
  if (set < 0) return sleep_a_little(name, until);
  for (std::size_t i = 0; i < count; ++i) {
    if (fds[i].fd < 0) continue;
    epoll_event e{};
    // The same number twice in a list: its events together.
    for (std::size_t j = 0; j < count; ++j) {
      if (fds[j].fd == fds[i].fd) e.events |= static_cast<unsigned short>(fds[j].events);
    }
    const long added = sys::raw(SYS_epoll_ctl, set, EPOLL_CTL_ADD, fds[i].fd, &e);
    if (added == 0 || added == -EEXIST || added == -EPERM) continue;  // EPERM: a file, of which poll says all it can
    io::close_own_fd(set);
    return added == -EBADF ? 0 : added;  // closed meanwhile: the next look says so
  }
  auto& reactor = *core::this_worker()->reactor;
  const long end = reactor.wait(set, readiness::readable, name, until);
  reactor.forget(set);
  io::close_own_fd(set);
  return end;
}

// A list of so many is looked at, and answered, without the kernel where that is possible.
constexpr std::size_t few = 8;

// What poll(2) would have said when the loop last looked, from what epoll(7) told it then: the same file operation answers
// both. Returns how many are ready, 0 where that isn't known of each, or -EFAULT. What has another number, too, goes on
// after this one is closed, which only poll(2) sees.
long answer(pollfd* fds, std::size_t count, const io::fd_wait* place, const io::fd_wait* end) noexcept {
  if (count > few) return 0;
  short told[few];
  long found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    told[i] = 0;
    if (fds[i].fd < 0) continue;
    const io::fd_facts* f = io::facts_if_any(fds[i].fd);
    if ((fds[i].events & ~(POLLIN | POLLOUT | always_told)) || !f || !f->is_sole()) return 0;
    const int places = !!(fds[i].events & POLLIN) + !!(fds[i].events & POLLOUT);
    if (end - place < places) return 0;  // another thread has changed the list meanwhile
    std::uint32_t seen = 0;
    for (int taken = 0; taken < places; ++taken) seen |= place++->seen;
    if (seen & io::fd_slot::unknown) return 0;
    told[i] = static_cast<short>(seen & static_cast<unsigned>(fds[i].events | always_told));
    found += told[i] != 0;
  }
  for (std::size_t i = 0; i < count && found; ++i) {
    if (!copies_are_cheap) {
      fds[i].revents = told[i];  // the kernel has written there before
    } else if (copy_out(&fds[i].revents, &told[i], sizeof told[i])) {
      return -EFAULT;
    }
  }
  return found;
}

// Waits until one of them may be ready. Returns 0, -ETIME or what ends the call; -EBADF where one is being closed; more where
// it could tell what poll(2) would say, which is then in `fds`.
long wait_for_any(pollfd* fds, std::size_t count, const char* name, std::int64_t until) noexcept {
  auto& reactor = *core::this_worker()->reactor;
  std::size_t places_needed = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (fds[i].fd < 0) continue;
    if (!seen_by_loop(fds[i].events, reactor)) return wait_by_epoll(fds, count, name, until);
    ++places_needed;
  }
  // The usual few stand on the fiber's stack.
  constexpr std::size_t few = 4;
  alignas(io::fd_wait) std::byte here[few * 2 * sizeof(io::fd_wait)];
  const base::room<io::fd_wait> there(places_needed > few ? places_needed * 2 : 0);
  auto* places = places_needed > few ? there.get() : reinterpret_cast<io::fd_wait*>(here);
  if (!places) return -ENOMEM;

  core::waiter w(core::waiter::reach::home);
  std::size_t used = 0;
  long error = 0;
  const auto enlist = [&](int fd, readiness which, bool urgent) {
    auto& place = *::new (&places[used++]) io::fd_wait(w);
    place.urgent = urgent;
    error = reactor.enlist(fd, which, place);
  };
  for (std::size_t i = 0; i < count && !error; ++i) {
    if (fds[i].fd < 0) continue;
    if (fds[i].events & read_events) enlist(fds[i].fd, readiness::readable, fds[i].events & POLLPRI);
    if (!error && (fds[i].events & write_events)) enlist(fds[i].fd, readiness::writable, false);
  }
  wait_result how = wait_result::ready;
  if (!error) {
    const io::waiting_here counted(reactor);
    how = core::park(w, {name, count == 1 ? fds[0].fd : -1, true}, until, core::cancel_point::yes);
  }
  const long found = error || how != wait_result::ready ? 0 : answer(fds, count, places, places + used);
  for (std::size_t i = 0; i < used; ++i) {
    if (places[i].error && places[i].error != -EBADF) error = places[i].error;
    places[i].~fd_wait();
  }
  if (error) return error;
  switch (how) {
    case wait_result::expired: return -ETIME;
    case wait_result::cancelled: return -ECANCELED;
    case wait_result::timed_out: return -ETIMEDOUT;
    case wait_result::ready: return found;
    default: return -EBADF;
  }
}

// The first time at most for as long as what is remembered is trusted (attempt.hpp). Returns as wait_for_any.
long wait_patiently(pollfd* fds, std::size_t count, const char* name, std::int64_t until,
                    bool& trusting) noexcept {
  const std::int64_t soon = trusting ? trusted_until() : base::never;
  if (!trusting || soon >= until) return wait_for_any(fds, count, name, until);
  const long end = wait_for_any(fds, count, name, soon);
  if (end != -ETIME) return end;
  trusting = false;
  for (std::size_t i = 0; i < count; ++i) core::this_worker()->reactor->renew(fds[i].fd);
  return 0;
}

// Would a look be in vain, most likely? Each was read empty, and all that is asked for is more of it.
bool all_drained(const pollfd* fds, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    const io::fd_facts* f = io::facts_if_any(fds[i].fd);
    if (!f || (fds[i].events & write_events) || !(fds[i].events & read_events) || !f->is_sole() ||
        !f->drained.load(std::memory_order_relaxed))
      return false;
  }
  return count != 0;
}

// Who reads what is readable need not wait for it.
long noted(const pollfd* fds, std::size_t count, long ready) noexcept {
  for (std::size_t i = 0; ready > 0 && i < count && i < few; ++i) {
    if (!(fds[i].revents & POLLIN)) continue;
    io::fd_facts* f = io::facts_if_any(fds[i].fd);
    if (f && f->drained.load(std::memory_order_relaxed)) f->drained.store(false, std::memory_order_relaxed);
  }
  return ready;
}

long poll_until(pollfd* fds, std::size_t count, std::int64_t until, const char* name,
                bool interrupted) noexcept {
  pollfd here[few];
  // Who closes on another worker wakes us before the kernel has closed it: looks that come too soon.
  constexpr int most_looks = 8;
  int looks = 0;
  bool wait_first = copies_are_cheap && until != 0 && count <= few && copy_in(here, fds, count * sizeof *fds) == 0 &&
                    all_drained(here, count);
  for (bool trusting = true;;) {
    const long ready = wait_first ? 0 : attempt(SYS_poll, fds, count, 0);
    wait_first = false;
    if (ready != 0) return noted(fds, count, ready);
    if (until == 0) return 0;
    if (interrupted) return -EINTR;
    const long waited = looks ? sleep_a_little(name, until, 1'000'000) : wait_patiently(fds, count, name, until, trusting);
    looks = waited == -EBADF ? most_looks : std::max(looks - 1, 0);
    const long end = as_result(waited == -EBADF ? 0 : waited);
    if (end == -ETIME) return attempt(SYS_poll, fds, count, 0);  // what came in the last moment counts
    if (end) return noted(fds, count, end);
  }
}

// Reads a relative time. `until`: 0 for no time at all.
long read_timeout(const void* at, std::int64_t& until) noexcept {
  until = base::never;
  if (!at) return 0;
  timespec t;
  if (const long error = copy_in(&t, at, sizeof t)) return error;
  if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= base::second) return -EINVAL;
  const bool beyond = t.tv_sec > base::never / base::second - 1;
  const std::int64_t length = beyond ? base::never : t.tv_sec * base::second + t.tv_nsec;
  until = length ? base::after(base::now(), length) : 0;
  return 0;
}

// select(2), "Linux": the timeout is set to the time not slept.
void write_time_left(void* at, std::int64_t until) noexcept {
  if (!at || until == base::never) return;
  const std::int64_t left = until ? std::max<std::int64_t>(0, until - base::now()) : 0;
  const timespec t = base::to_timespec(left);
  copy_out(at, &t, sizeof t);
}

long from_ms(long ms) noexcept {
  return ms < 0 ? base::never : ms == 0 ? 0 : base::after(base::now(), ms * 1'000'000);
}

// The three sets of a select, copied in and out.
class fd_sets {
 public:
  fd_sets(long count, long in, long out, long except) noexcept
      : count_(static_cast<std::size_t>(count)), bytes_((count_ + 63) / 64 * 8),
        user_{reinterpret_cast<void*>(in), reinterpret_cast<void*>(out), reinterpret_cast<void*>(except)},
        memory_(bytes_ * 6 + 1), polls_(count_ + 1) {}

  // Returns 0 or -errno.
  long load() noexcept {
    if (!memory_.get() || !polls_.get()) return -ENOMEM;
    for (int i = 0; i < 3; ++i) {
      if (!user_[i]) continue;
      if (const long error = copy_in(asked(i), user_[i], bytes_)) return error;
    }
    for (std::size_t fd = 0; fd < count_; ++fd) {
      constexpr short events[3] = {POLLIN, POLLOUT, POLLPRI};
      short wanted = 0;
      for (int i = 0; i < 3; ++i) {
        if (user_[i] && (asked(i)[fd / 64] >> (fd % 64) & 1)) wanted |= events[i];
      }
      if (wanted) polls_.get()[polled_++] = {static_cast<int>(fd), wanted, 0};
    }
    return 0;
  }
  long look() noexcept {
    timespec none{};
    for (int i = 0; i < 3; ++i) std::memcpy(found(i), asked(i), bytes_);
    return attempt(SYS_pselect6, count_, user_[0] ? found(0) : nullptr, user_[1] ? found(1) : nullptr,
                   user_[2] ? found(2) : nullptr, &none, nullptr);
  }
  // What a look found becomes the caller's.
  long store() noexcept {
    for (int i = 0; i < 3; ++i) {
      if (!user_[i]) continue;
      if (const long error = copy_out(user_[i], found(i), bytes_)) return error;
    }
    return 0;
  }
  pollfd* polls() noexcept { return polls_.get(); }
  std::size_t polled() const noexcept { return polled_; }

 private:
  unsigned long* asked(int i) noexcept { return memory_.get() + i * (bytes_ / 8); }
  unsigned long* found(int i) noexcept { return memory_.get() + (3 + i) * (bytes_ / 8); }

  const std::size_t count_, bytes_;
  void* const user_[3];
  base::room<unsigned long> memory_;
  base::room<pollfd> polls_;
  std::size_t polled_ = 0;
};

long select_until(long count, long in, long out, long except, std::int64_t until, const char* name,
                  bool interrupted) noexcept {
  if (count < 0) return -EINVAL;
  // select(2) looks no further than the process can have descriptors.
  fd_sets sets(std::min<long>(count, 1 << 20), in, out, except);
  if (const long error = sets.load()) return error;
  for (bool trusting = true;;) {
    long ready = sets.look();
    if (ready == 0 && until != 0) {
      if (interrupted) return -EINTR;
      const long end = as_result(wait_patiently(sets.polls(), sets.polled(), name, until, trusting));
      if (end >= 0) continue;
      if (end != -ETIME) return end;
      ready = sets.look();
    }
    if (ready < 0) return ready;
    const long error = sets.store();
    return error ? error : ready;
  }
}

long epoll_until(long set, long events, long room_for, std::int64_t until, const void* mask, std::size_t mask_size,
                 const char* name) noexcept {
  const mask_for_wait masked(mask, mask_size);
  if (masked.error()) return masked.error();
  for (bool trusting = true;;) {
    const long ready = attempt(SYS_epoll_pwait, set, events, room_for, 0, nullptr, 0);
    if (ready != 0 || until == 0) return masked.end(ready);
    if (masked.interrupted()) return masked.end(-EINTR);
    pollfd all{static_cast<int>(set), POLLIN, 0};
    const long end = as_result(wait_patiently(&all, 1, name, until, trusting));
    if (end == -ETIME) return masked.end(attempt(SYS_epoll_pwait, set, events, room_for, 0, nullptr, 0));
    if (end < 0) return masked.end(end);
  }
}

}  // namespace

long poll_call(long fds, long count, long timeout_ms, long, long, long) {
  return poll_until(reinterpret_cast<pollfd*>(fds), static_cast<std::size_t>(count), from_ms(static_cast<int>(timeout_ms)),
                    "poll", false);
}

long ppoll_call(long fds, long count, long timeout, long mask, long mask_size, long) {
  std::int64_t until;
  if (const long error = read_timeout(reinterpret_cast<void*>(timeout), until)) return error;
  const mask_for_wait masked(reinterpret_cast<void*>(mask), static_cast<std::size_t>(mask_size));
  if (masked.error()) return masked.error();
  const long ready = masked.end(
      poll_until(reinterpret_cast<pollfd*>(fds), static_cast<std::size_t>(count), until, "ppoll", masked.interrupted()));
  write_time_left(reinterpret_cast<void*>(timeout), until);
  return ready;
}

long select_call(long count, long in, long out, long except, long timeout, long) {
  struct {
    long seconds, microseconds;
  } t{};
  std::int64_t until = base::never;
  if (timeout) {
    if (const long error = copy_in(&t, reinterpret_cast<void*>(timeout), sizeof t)) return error;
    if (t.seconds < 0 || t.microseconds < 0) return -EINVAL;
    const timespec as{t.seconds + t.microseconds / 1'000'000, t.microseconds % 1'000'000 * 1000};
    if (const long error = read_timeout(&as, until)) return error;
  }
  const long ready = select_until(count, in, out, except, until, "select", false);
  if (timeout && until != base::never) {
    const std::int64_t left = until ? std::max<std::int64_t>(0, until - base::now()) : 0;
    t = {left / base::second, left % base::second / 1000};
    copy_out(reinterpret_cast<void*>(timeout), &t, sizeof t);
  }
  return ready;
}

long pselect6_call(long count, long in, long out, long except, long timeout, long mask_and_size) {
  struct {
    const void* mask;
    std::size_t size;
  } m{};
  if (mask_and_size) {
    if (const long error = copy_in(&m, reinterpret_cast<void*>(mask_and_size), sizeof m)) return error;
  }
  std::int64_t until;
  if (const long error = read_timeout(reinterpret_cast<void*>(timeout), until)) return error;
  const mask_for_wait masked(m.mask, m.size);
  if (masked.error()) return masked.error();
  const long ready = masked.end(select_until(count, in, out, except, until, "pselect", masked.interrupted()));
  write_time_left(reinterpret_cast<void*>(timeout), until);
  return ready;
}

long epoll_wait_call(long set, long events, long room_for, long timeout_ms, long, long) {
  return epoll_until(set, events, room_for, from_ms(static_cast<int>(timeout_ms)), nullptr, 0, "epoll_wait");
}

long epoll_pwait_call(long set, long events, long room_for, long timeout_ms, long mask, long mask_size) {
  return epoll_until(set, events, room_for, from_ms(static_cast<int>(timeout_ms)), reinterpret_cast<void*>(mask),
                     static_cast<std::size_t>(mask_size), "epoll_pwait");
}

long epoll_pwait2_call(long set, long events, long room_for, long timeout, long mask, long mask_size) {
  std::int64_t until;
  if (const long error = read_timeout(reinterpret_cast<void*>(timeout), until)) return error;
  return epoll_until(set, events, room_for, until, reinterpret_cast<void*>(mask), static_cast<std::size_t>(mask_size),
                     "epoll_pwait2");
}

}  // namespace bide::call
