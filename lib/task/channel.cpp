// Channels. A value goes over as a pointer, under the channel's lock: whoever comes second to a meeting claims the first
// one's wait (core::wake decides it, once) and completes its place before the lock is let go. The one who was woken takes
// the lock before it looks at its place. So one who waits at several channels is served by one of them, or by none.
#include <bide/channel.hpp>
#include <bide/queue.hpp>

#include <errno.h>

#include "lib/base/spin.hpp"
#include "lib/fiber/park.hpp"
#include "lib/task/error.hpp"

namespace bide::detail {
namespace {

void push_back(channel_places& l, channel_place& p) noexcept {
  p.on = true;
  p.next = nullptr;
  p.previous = l.tail;
  (l.tail ? l.tail->next : l.head) = &p;
  l.tail = &p;
}

void take_off(channel_places& l, channel_place& p) noexcept {
  p.on = false;
  (p.previous ? p.previous->next : l.head) = p.next;
  (p.next ? p.next->previous : l.tail) = p.previous;
}

}  // namespace

// The longest waiter there, but not `by` itself, which may stand on both sides.
channel_place* channel_core::serve_one(channel_places& l, core::waiter* by) noexcept {
  for (channel_place* p = l.head; p;) {
    channel_place* next = p->next;
    if (p->who != by) {
      take_off(l, *p);
      if (core::wake(*p->who, wait_result::ready)) {
        p->served = true;
        return p;
      }
    }
    p = next;
  }
  return nullptr;
}

void channel_core::put(channel_item* i) noexcept {
  i->next = nullptr;
  (count_++ ? last_->next : first_) = i;
  last_ = i;
}

channel_item* channel_core::take() noexcept {
  if (!count_) return nullptr;
  channel_item* i = first_;
  first_ = i->next;
  --count_;
  return i;
}

channel_item* channel_core::drain() noexcept { return take(); }

wait_result channel_core::send_locked(channel_item* i, core::waiter* by) noexcept {
  if (closed_) return wait_result::closed;
  if (channel_place* p = serve_one(receivers_, by))
    p->item = i;
  else if (count_ < capacity_)
    put(i);
  else
    return wait_result::expired;
  return wait_result::ready;
}

wait_result channel_core::receive_locked(channel_item*& i, core::waiter* by) noexcept {
  i = take();
  if (i || !closed_) {
    // Room for the longest sender; or, with no room ever, its value itself.
    if (channel_place* p = serve_one(senders_, by)) {
      if (i)
        put(p->item);
      else
        i = p->item;
    }
  }
  return i ? wait_result::ready : closed_ ? wait_result::closed : wait_result::expired;
}

wait_result channel_core::try_send(channel_item* i) noexcept {
  const base::spin_guard guard(lock_);
  return send_locked(i, nullptr);
}

wait_result channel_core::try_receive(channel_item*& i) noexcept {
  const base::spin_guard guard(lock_);
  return receive_locked(i, nullptr);
}

wait_result channel_core::send(channel_item* i, deadline until) {
  core::waiter w(core::waiter::reach::anyone);
  channel_place mine{&w, i};
  {
    const base::spin_guard guard(lock_);
    const wait_result now = send_locked(i, &w);
    if (now != wait_result::expired) return now;
    push_back(senders_, mine);
  }
  const wait_result how = core::park(w, {"a channel with no room"}, until.ns(), core::cancel_point::yes);
  if (withdraw(mine, true)) return wait_result::ready;
  return how == wait_result::ready ? wait_result::closed : how;
}

wait_result channel_core::receive(channel_item*& i, deadline until) {
  core::waiter w(core::waiter::reach::anyone);
  channel_place mine{&w};
  {
    const base::spin_guard guard(lock_);
    const wait_result now = receive_locked(i, &w);
    if (now != wait_result::expired) return now;
    push_back(receivers_, mine);
  }
  const wait_result how = core::park(w, {"a channel with nothing in it"}, until.ns(), core::cancel_point::yes);
  const bool served = withdraw(mine, false);
  i = mine.item;
  if (served) return wait_result::ready;
  return how == wait_result::ready ? wait_result::closed : how;
}

bool channel_core::withdraw(channel_place& p, bool sends) noexcept {
  const base::spin_guard guard(lock_);
  if (p.on) take_off(sends ? senders_ : receivers_, p);
  return p.served;
}

// Its own wait is claimed first: it may have been served elsewhere since it was enlisted there.
bool channel_core::send_or_enlist(channel_place& p) noexcept {
  const base::spin_guard guard(lock_);
  p.served = false;
  if (closed_ || receivers_.head || count_ < capacity_) {
    bool others = closed_ || count_ < capacity_;
    for (channel_place* r = receivers_.head; r && !others; r = r->next) others = r->who != p.who && !r->who->is_decided();
    if (others) {
      core::wake(*p.who, wait_result::ready);
      return true;
    }
  }
  push_back(senders_, p);
  return false;
}

bool channel_core::receive_or_enlist(channel_place& p) noexcept {
  const base::spin_guard guard(lock_);
  p.served = false;
  bool others = closed_ || count_;
  for (channel_place* s = senders_.head; s && !others; s = s->next) others = s->who != p.who && !s->who->is_decided();
  if (others) {
    core::wake(*p.who, wait_result::ready);
    return true;
  }
  push_back(receivers_, p);
  return false;
}

void channel_core::close() {
  {
    const base::spin_guard guard(lock_);
    if (!closed_) {
      closed_ = true;
      // Served by nobody: they find it closed.
      for (channel_places* l : {&senders_, &receivers_}) {
        while (channel_place* p = l->head) {
          take_off(*l, *p);
          core::wake(*p->who, wait_result::ready);
        }
      }
      return;
    }
  }
  task_layer::fail(EBADF, "channel::close(): it is closed already");
}

bool channel_core::closed() const noexcept {
  const base::spin_guard guard(lock_);
  return closed_;
}

std::size_t channel_core::size() const noexcept {
  const base::spin_guard guard(lock_);
  return count_;
}

void throw_task_done() { task_layer::fail(EINVAL, "queue::task_done() was called more often than put()"); }

void throw_channel_closed() { task_layer::fail(EPIPE, "a channel that is closed takes nothing more"); }

}  // namespace bide::detail
