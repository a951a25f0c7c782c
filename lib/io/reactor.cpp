#include "lib/io/reactor.hpp"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <new>

#include "lib/base/arena.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/sys/raw.hpp"

namespace bide::io {
namespace {

constexpr std::size_t directory_bytes = ((std::size_t{1} << 31) >> 10) * sizeof(void*);

constexpr int index_of(readiness r) noexcept { return static_cast<int>(r); }

long outcome(const fd_wait& place, wait_result how) noexcept {
  switch (how) {
    case wait_result::ready: return place.error;
    case wait_result::expired: return -ETIME;
    case wait_result::cancelled: return -ECANCELED;
    case wait_result::closed: return -EBADF;
    case wait_result::timed_out: return -ETIMEDOUT;
  }
  __builtin_unreachable();
}

}  // namespace

int reactor::open(core::worker_core& worker, bool stepped) noexcept {
  worker_ = &worker;
  stepped_ = stepped;
  directory_ = static_cast<chunk**>(base::reserve(directory_bytes));
  if (!directory_) return -ENOMEM;
  const long bell = sys::raw(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
  bell_ = bell < 0 ? static_cast<int>(bell) : adopt_own_fd(static_cast<int>(bell));
  int error = bell_ < 0 ? bell_ : loop_.open(*this, bell_, stepped);
  if (!error && stepped) error = open_outer();
  if (error) close();
  return error;
}

int reactor::open_outer() noexcept {
  if (loop_.epoll_fd() < 0) return -ENOSYS;
  const long set = sys::raw(SYS_epoll_create1, EPOLL_CLOEXEC);
  if (set < 0) return static_cast<int>(set);
  outer_ = adopt_own_fd(static_cast<int>(set));
  const long timer = sys::raw(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer < 0) return static_cast<int>(timer);
  outer_timer_ = adopt_own_fd(static_cast<int>(timer));
  for (const int fd : {loop_.epoll_fd(), outer_timer_}) {
    epoll_event e{EPOLLIN, {}};
    if (const long error = sys::raw(SYS_epoll_ctl, outer_, EPOLL_CTL_ADD, fd, &e)) return static_cast<int>(error);
  }
  return 0;
}

// timerfd_create(2): setting it anew makes it unreadable until then; zero disarms it.
void reactor::set_outer_timer(std::int64_t at) noexcept {
  itimerspec when{};
  if (at != base::never) when.it_value = base::to_timespec(at > 0 ? at : 1);
  sys::raw(SYS_timerfd_settime, outer_timer_, TFD_TIMER_ABSTIME, &when, nullptr);
}

void reactor::close() noexcept {
  ring_.close();
  loop_.close();
  close_own_fd(bell_);
  bell_ = -1;
  if (outer_ >= 0) close_own_fd(outer_);
  if (outer_timer_ >= 0) close_own_fd(outer_timer_);
  outer_ = outer_timer_ = -1;
  while (chunk* c = newest_) {
    newest_ = c->next;
    sys::raw(SYS_munmap, c, sizeof(chunk));
  }
  if (directory_) sys::raw(SYS_munmap, directory_, directory_bytes);
  directory_ = nullptr;
  waiting_ = 0;
}

int reactor::reopen() noexcept {
  close();
  return open(*worker_, stepped_);
}

fd_slot* reactor::slot_if_any(int fd) noexcept {
  chunk* c = fd < 0 ? nullptr : directory_[fd >> chunk_shift];
  fd_slot* s = c ? &c->slots[fd & (chunk_slots - 1)] : nullptr;
  return s && s->used ? s : nullptr;
}

fd_slot* reactor::slot(int fd) noexcept {
  chunk*& c = directory_[fd >> chunk_shift];
  if (!c) {
    c = static_cast<chunk*>(base::reserve(sizeof(chunk)));
    if (!c) return nullptr;
    c->next = newest_;
    newest_ = c;
  }
  fd_slot& s = c->slots[fd & (chunk_slots - 1)];
  if (!s.used) {
    ::new (&s) fd_slot;
    s.used = true;
  } else if (!s.stale) {
    return &s;
  }
  for (const readiness r : {readiness::readable, readiness::writable}) {
    watcher& w = s.watchers[index_of(r)];
    const bool started = s.stale && loop_.started(w);
    if (started) loop_.stop(w);
    w.owner = &s;
    // Only a newly initialised watcher makes libev tell the kernel again: a stop and a start between two iterations
    // come to nothing, though the number may have got another owner in between.
    loop_.initialise(w, fd, r);
    if (started && !s.waiting[index_of(r)].empty()) loop_.start(w);
  }
  s.stale = false;
  return &s;
}

long reactor::enlist(int fd, readiness which, fd_wait& place) noexcept {
  if (place.urgent) {
    fd_slot* known = slot_if_any(fd);
    if (known && !known->urgent) known->stale = true;
  }
  fd_slot* s = slot(fd);
  if (!s) return -ENOMEM;
  s->urgent |= place.urgent;
  if (fd_facts* f = facts(fd)) {
    const std::uint64_t bit = std::uint64_t{1} << worker_->index;
    if (!(f->watched_by.load(std::memory_order_relaxed) & bit)) f->watched_by.fetch_or(bit, std::memory_order_relaxed);
  }
  s->waiting[index_of(which)].push_back(place);
  watcher& w = s->watchers[index_of(which)];
  if (place.by_readiness() && !loop_.started(w)) loop_.start(w);
  return 0;
}

long reactor::wait(int fd, readiness which, const char* call, std::int64_t until) noexcept {
  core::waiter w(core::waiter::reach::home);
  fd_wait place(w);
  if (const long error = enlist(fd, which, place)) return error;
  const waiting_here counted(*this);
  return outcome(place, core::park(w, {call, fd, true}, until, core::cancel_point::yes));
}

int reactor::open_ring() noexcept {
  if (ring_.is_open()) return 0;
  if (ring_.open() != 0) return -ENOSYS;
  if (loop_.make_room(ring_.fd()) != 0) {
    ring_.close();
    return -ENOSYS;
  }
  loop_.initialise(ring_watcher_, ring_.fd(), readiness::readable);
  loop_.start(ring_watcher_);
  return 0;
}

long reactor::request(int fd, readiness which, ring_op& op, const char* call, std::int64_t until) noexcept {
  if (const int error = open_ring()) return error;
  op.fd = fd;
  core::waiter w(core::waiter::reach::home);
  op.who = &w;
  if (const int error = ring_.submit(op)) return error;
  if (op.done) return op.result;

  fd_wait place(w);
  place.request = &op;
  enlist(fd, which, place);
  const waiting_here counted(*this);
  const wait_result how = core::park(w, {call, fd, true}, until, core::cancel_point::yes);
  // A result that came with a cancel is not lost, nor is the cancel: the next wait has it.
  const auto with_result = [&](int result) {
    if (how == wait_result::cancelled) core::keep_cancel(*w.who);
    return result;
  };
  // It must be over before this stack goes on: the kernel writes into it.
  op.who = nullptr;
  if (!op.done) ring_.cancel(op);
  while (!op.done) {
    core::waiter rest(core::waiter::reach::home);
    op.who = &rest;
    core::park(rest, {"the end of a request", fd}, base::never, core::cancel_point::no);
  }
  // Ended by us or by the kernel, it says ECANCELED or EINTR: then what ended the wait counts.
  if (op.result != -ECANCELED && op.result != -EINTR) return with_result(op.result);
  return how == wait_result::ready ? -EINTR : outcome(place, how);  // ready, and not by its end: a signal handler ran
}

long reactor::offload(int fd, offload_call& call, const char* name) noexcept {
  core::waiter w(core::waiter::reach::anyone);
  if (offload_begin(call, w) != 0) return -ENOMEM;
  fd_wait place(w);
  place.call = &call;
  if (fd >= 0) enlist(fd, readiness::readable, place);
  const waiting_here counted(*this);
  const wait_result how = core::park(w, {name, fd, call.by_handlers}, base::never, call.point);
  // It must be over before this stack goes on, where its arguments are.
  offload_end(call);
  if (call.answer != -EINTR) {
    if (how == wait_result::cancelled) core::keep_cancel(*w.who);
    return call.answer;
  }
  return how == wait_result::ready ? -EINTR : outcome(place, how);
}

void reactor::forget(int fd, held where) noexcept {
  fd_slot* s = slot_if_any(fd);
  if (!s) return;
  if (where == held::elsewhere) loop_.unwatch(fd);
  for (int i = 0; i < 2; ++i) {
    if (loop_.started(s->watchers[i])) loop_.stop(s->watchers[i]);
    while (!s->waiting[i].empty()) {
      fd_wait& place = s->waiting[i].front();
      s->waiting[i].pop_front();
      core::wake(place.who, wait_result::closed);
      // A request holds the description: end it now, or a listener would outlive its close.
      if (place.request && !place.request->done) ring_.cancel(*place.request);
      if (place.call) offload_interrupt(*place.call);
    }
  }
  s->stale = true;
  s->urgent = false;
}

void reactor::ignore_urgent(int fd) noexcept {
  fd_slot* s = slot_if_any(fd);
  if (!s || !s->urgent) return;
  s->urgent = false;
  s->stale = true;
}

void reactor::on_seen(int fd, std::uint32_t events) noexcept {
  fd_slot* s = slot_if_any(fd);
  if (!s) return;
  // Told twice: one is of what had the number before.
  s->seen = s->seen_by_look == looks_ ? fd_slot::unknown : events;
  s->seen_by_look = looks_;
}

bool reactor::wants_urgent(int fd) noexcept {
  const fd_slot* s = slot_if_any(fd);
  return s && s->urgent;
}

void reactor::renew(int fd) noexcept {
  if (fd_slot* s = slot_if_any(fd)) s->stale = true;
}

void reactor::nudge(int fd) noexcept {
  fd_slot* s = slot_if_any(fd);
  if (!s) return;
  for (auto& waiting : s->waiting) {
    for (auto at = waiting.begin(); at != waiting.end();) {
      fd_wait& place = *at++;
      if (!place.by_readiness()) continue;
      place.unlink();
      core::wake(place.who, wait_result::ready);
    }
  }
}

void reactor::on_ready(watcher& w) noexcept {
  if (&w == &ring_watcher_) return;  // reaped after the events
  fd_slot& s = *static_cast<fd_slot*>(w.owner);
  auto& waiting = s.waiting[index_of(w.which)];
  auto& served = s.served[index_of(w.which)];
  bool for_nobody = served == 0;
  for (auto at = waiting.begin(); at != waiting.end();) {
    fd_wait& place = *at++;
    if (!place.by_readiness()) continue;
    for_nobody = false;
    place.unlink();
    place.seen = s.seen_by_look == looks_ ? s.seen : fd_slot::unknown;
    if (!core::wake(place.who, wait_result::ready)) continue;
    place.served = &served;
    ++served;
  }
  if (for_nobody) loop_.stop(w);
}

void reactor::on_refused(int fd, int error) noexcept {
  fd_slot* s = slot_if_any(fd);
  if (!s) return;
  s->stale = true;
  for (watcher& w : s->watchers) {
    if (loop_.started(w)) loop_.stop(w);  // poll(2) would say so again and again
  }
  for (auto& waiting : s->waiting) {
    while (!waiting.empty()) {
      fd_wait& place = waiting.front();
      waiting.pop_front();
      place.error = error;
      core::wake(place.who, wait_result::ready);
    }
  }
}

void reactor::poll() noexcept {
  loop_.poll();
  ring_.reap();
}

void reactor::sleep(std::int64_t until) noexcept {
  loop_.sleep(until);
  ring_.reap();
}

}  // namespace bide::io
