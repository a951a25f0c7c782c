// One wait in several places. Each round looks at every case, then enlists in all of them with one waiter, parks, and
// withdraws: a channel that served it has completed its case by then, everything else is looked at again.
#include <bide/select.hpp>

#include <errno.h>
#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/base/spin.hpp"
#include "lib/fiber/park.hpp"
#include "lib/io/reactor.hpp"
#include "lib/sys/raw.hpp"
#include "lib/task/error.hpp"

namespace bide::detail {
namespace {

using kind = select_case::kind;
using task_layer::fail;

constexpr std::size_t none = SIZE_MAX;

bool is_fd(const select_case& c) noexcept { return c.what == kind::readable || c.what == kind::writable; }

void check(const select_case& c) {
  if (c.what == kind::task && !c.its) fail(EINVAL, "select(): a task's handle is empty");
  if (!is_fd(c)) return;
  if (c.fd < 0) fail(EINVAL, "select(): the descriptor is " + std::to_string(c.fd));
  if (!core::this_fiber()) fail(EPERM, "select() over a descriptor outside a fiber: a plain thread has poll(2)");
}

bool fd_is_ready(const select_case& c) {
  pollfd p{c.fd, static_cast<short>(c.what == kind::readable ? POLLIN | POLLRDHUP : POLLOUT), 0};
  const long n = sys::raw(SYS_poll, &p, 1, 0);
  if (n > 0 && (p.revents & POLLNVAL)) fail(EBADF, "select(): descriptor " + std::to_string(c.fd) + " is closed");
  return n > 0;
}

// Does it happen without a wait?
bool happens(select_case& c) {
  wait_result how;
  switch (c.what) {
    case kind::receive: how = c.through->try_receive(c.place.item); break;
    case kind::send: how = c.through->try_send(c.place.item); break;
    case kind::readable:
    case kind::writable: return fd_is_ready(c);
    case kind::task: return c.its->ended();
    default: return false;
  }
  c.closed = how == wait_result::closed;
  return how != wait_result::expired;
}

// One fiber's places for one round.
class round {
 public:
  round(select_case* const* cases, std::size_t count) : cases_(cases), seats_(count) {}

  // Returns the case that a channel has completed, or `none`; `how` the wait ended.
  std::size_t wait(std::int64_t until, wait_result& how) {
    bool came = false;
    std::size_t enlisted = 0;
    for (; enlisted < seats_.size() && !came; ++enlisted) came = enlist(*cases_[enlisted], seats_[enlisted]);
    if (came) {
      how = wait_result::ready;
      // Claimed by ourselves, or by another first, who then knows nothing of a wait: the word is decided either way.
      how = core::park(waiter_, {"several things at once"}, until, core::cancel_point::no);
    } else if (!watches_fd_) {
      how = core::park(waiter_, {"several things at once"}, until, core::cancel_point::yes);
    } else {
      const io::waiting_here counted(*core::this_worker()->reactor);
      how = core::park(waiter_, {"several things at once"}, until, core::cancel_point::yes);
    }
    std::size_t served = none;
    for (std::size_t i = 0; i < enlisted; ++i) {
      if (withdraw(*cases_[i], seats_[i])) served = i;
    }
    return served;
  }

 private:
  // Where a task or a descriptor finds who waits; a channel's is in the case.
  struct seat : watch {
    core::waiter* who = nullptr;
    std::optional<io::fd_wait> at_fd;
  };

  bool enlist(select_case& c, seat& w) noexcept {
    switch (c.what) {
      case kind::receive: c.place.who = &waiter_; return c.through->receive_or_enlist(c.place);
      case kind::send: c.place.who = &waiter_; return c.through->send_or_enlist(c.place);
      case kind::readable:
      case kind::writable: {
        const auto which = c.what == kind::readable ? io::readiness::readable : io::readiness::writable;
        watches_fd_ = true;
        const long error = core::this_worker()->reactor->enlist(c.fd, which, w.at_fd.emplace(waiter_));
        if (error) core::wake(waiter_, wait_result::ready);
        return error != 0;
      }
      case kind::task: {
        w.who = &waiter_;
        w.ended = [](watch& me) noexcept { core::wake(*static_cast<seat&>(me).who, wait_result::ready); };
        const base::spin_guard guard(c.its->lock);
        if (c.its->ended()) {
          core::wake(waiter_, wait_result::ready);
          return true;
        }
        w.on = true;
        w.next = c.its->watchers;
        if (w.next) w.next->previous = &w;
        c.its->watchers = &w;
        return false;
      }
      default: return false;
    }
  }

  bool withdraw(select_case& c, seat& w) noexcept {
    if (c.what == kind::receive || c.what == kind::send) return c.through->withdraw(c.place, c.what == kind::send);
    w.at_fd.reset();
    if (c.what != kind::task) return false;
    const base::spin_guard guard(c.its->lock);
    if (!w.on) return false;
    (w.previous ? w.previous->next : c.its->watchers) = w.next;
    if (w.next) w.next->previous = w.previous;
    return false;
  }

  select_case* const* const cases_;
  core::waiter waiter_{core::waiter::reach::anyone};
  std::vector<seat> seats_;
  bool watches_fd_ = false;
};

}  // namespace

std::size_t select(select_case* const* cases, std::size_t count) {
  if (!count) fail(EINVAL, "select() over nothing would wait for ever");
  std::int64_t until = base::never;
  std::size_t timed = none, otherwise = none;
  for (std::size_t i = 0; i < count; ++i) {
    check(*cases[i]);
    if (cases[i]->what == kind::otherwise) otherwise = i;
    if (cases[i]->what == kind::time && (timed == none || cases[i]->until.ns() < until)) {
      until = cases[i]->until.ns();
      timed = i;
    }
  }
  for (std::size_t first = base::ticks() % count;; first = (first + 1) % count) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = (first + i) % count;
      if (happens(*cases[at])) return at;
    }
    if (otherwise != none) return otherwise;
    if (timed != none && until <= base::now()) return timed;
    wait_result how;
    const std::size_t served = round(cases, count).wait(until, how);
    if (served != none) return served;
    if (how == wait_result::expired) return timed;
    if (how != wait_result::ready) throw_ended(how);
  }
}

}  // namespace bide::detail
