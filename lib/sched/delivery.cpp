#include "lib/sched/delivery.hpp"

#include <errno.h>

#include <atomic>
#include <cstring>

#include "asm/trap.h"
#include "lib/base/arena.hpp"
#include "lib/base/spin.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sched/thread_timers.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {
namespace {

constexpr unsigned long sa_restorer = 0x04000000;  // the kernel's: its libc's restorer is given

void (*kernel_handler)(int, siginfo_t*, void*) = nullptr;
std::atomic<std::uint32_t> actions_lock;
signal_action actions[signals + 1];  // guarded by actions_lock

std::atomic<std::uint32_t> mask_lock;
std::uint32_t open_to[signals + 1];   // guarded by mask_lock: threads that don't block it
std::atomic<signal_set> blocked_by_all{0};
std::atomic<signal_set> kernel_mask{0};  // of the kernel thread that carries worker 0; written there

constexpr int first_queued = 32;  // signal(7): real-time signals, libc's own with them

// What the handler noted. A slot is free (0), being written (1) or full (2); the order is kept by number.
struct note {
  std::atomic<std::uint32_t> state{0};
  std::uint32_t order = 0;
  siginfo_t info{};
};
constexpr int most_notes = 256;
constinit note notes[most_notes];
std::atomic<std::uint32_t> note_order{0};
std::atomic<signal_set> noted_set{0};
std::atomic<std::uint32_t> route_lock;

// A signal that comes while our handler begins waits: what the first interrupts is to be off the kernel thread's stack.
constexpr signal_set while_noted = deaf | signal_bit(tick_signal);

// What the kernel is told. What it interrupts may have no stack left, so it puts that on the kernel thread's own.
signal_action for_kernel(int number, const signal_action& wanted) noexcept {
  signal_action k = wanted;
  k.restorer = reinterpret_cast<void*>(bide_gate_restorer);
  k.flags |= sa_restorer;
  k.mask &= ~unblockable;
  if (!is_handled(wanted) && !(signal_bit(number) & mended)) return k;
  k.function = reinterpret_cast<void*>(kernel_handler);
  // No SA_RESTART: a call that waits in the kernel comes back, and goes on or not as its thread's handlers say.
  k.flags = (wanted.flags & (SA_NOCLDSTOP | SA_NOCLDWAIT)) | SA_SIGINFO | SA_NODEFER | SA_ONSTACK | sa_restorer;
  k.mask = while_noted;
  return k;
}

}  // namespace

void open_signals(thread& main, void (*handler)(int, siginfo_t*, void*)) noexcept {
  kernel_handler = handler;
  for (int n = 1; n <= signals; ++n) sys::raw(SYS_rt_sigaction, n, nullptr, &actions[n], sizeof(signal_set));
  signal_set now = 0;
  sys::raw(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &now, sizeof now);
  kernel_mask = now;
  adopt_mask(main, now);
  for (int n = 1; n <= signals; ++n) {
    if (!is_handled(actions[n]) && !(signal_bit(n) & mended)) continue;
    const signal_action k = for_kernel(n, actions[n]);  // another library's constructor was quicker
    sys::raw(SYS_rt_sigaction, n, &k, nullptr, sizeof(signal_set));
  }
  signal_action tick;
  tick.function = reinterpret_cast<void*>(handler);
  tick.flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | sa_restorer;
  tick.restorer = reinterpret_cast<void*>(bide_gate_restorer);
  tick.mask = while_noted;
  sys::raw(SYS_rt_sigaction, tick_signal, &tick, nullptr, sizeof(signal_set));
}

long change_action(int number, const signal_action* wanted, signal_action* before) noexcept {
  if (number < 1 || number > signals || (wanted && (number == SIGKILL || number == SIGSTOP))) return -EINVAL;
  const base::spin_guard guard(actions_lock);
  if (before) *before = actions[number];
  if (!wanted) return 0;
  // SIGSYS is the trap door's: the program's handler gets those that are not ours. The tick's is never sent to anybody.
  if (number != SIGSYS && number != tick_signal) {
    const signal_action k = for_kernel(number, *wanted);
    const long answer = sys::raw(SYS_rt_sigaction, number, &k, nullptr, sizeof(signal_set));
    if (answer) return answer;
  }
  actions[number] = *wanted;
  actions[number].mask &= ~never_blocked;
  return 0;
}

signal_action action_of(int number) noexcept {
  const base::spin_guard guard(actions_lock);
  return actions[number];
}

namespace {

// What changed in a thread's mask, counted. Returns whether what all block changed.
bool count_mask(signal_set before, signal_set now, std::uint32_t was_there) noexcept {
  const base::spin_guard guard(mask_lock);
  signal_set all = blocked_by_all.load(std::memory_order_relaxed);
  const signal_set first = all;
  for (signal_set changed = was_there ? before ^ now : ~signal_set{0}; changed; changed &= changed - 1) {
    const int n = __builtin_ctzll(changed) + 1;
    const signal_set bit = signal_bit(n);
    if (was_there && !(before & bit)) --open_to[n];
    if (!(now & bit)) ++open_to[n];
    all = open_to[n] ? all & ~bit : all | bit;
  }
  blocked_by_all.store(all & ~(unblockable | mended | signal_bit(tick_signal)), std::memory_order_release);
  return all != first;
}

void follow_mask() noexcept {
  worker_core* here = this_worker();
  worker* zero = worker_at(0);
  if (here && here->index == 0) return apply_process_mask();
  if (!zero) return;
  zero->signalled.store(1, std::memory_order_seq_cst);
  ring(*zero);
}

}  // namespace

void adopt_mask(thread& t, signal_set mask) noexcept {
  t.mask.store(mask & ~never_blocked, std::memory_order_relaxed);
  count_mask(0, mask & ~never_blocked, 0);
}

void set_mask(thread& t, signal_set mask) noexcept {
  mask &= ~never_blocked;
  const signal_set before = t.mask.exchange(mask, std::memory_order_relaxed);
  if (before != mask && count_mask(before, mask, 1)) follow_mask();
}

void borrow_mask(thread& t, signal_set mask) noexcept {
  if (!t.mask_is_borrowed) t.mask_before = t.mask.load(std::memory_order_relaxed);
  t.mask_is_borrowed = true;
  set_mask(t, mask);
  route_signals(*this_worker());
}

void return_mask(thread& t) noexcept {
  if (!t.mask_is_borrowed) return;
  t.mask_is_borrowed = false;
  set_mask(t, t.mask_before);
}

void drop_mask(thread& t) noexcept {
  // As if it blocked everything: then it is open to nothing.
  if (count_mask(t.mask.exchange(~signal_set{0}, std::memory_order_relaxed), ~signal_set{0}, 1)) follow_mask();
}

signal_set process_mask() noexcept { return blocked_by_all.load(std::memory_order_acquire); }

void apply_process_mask() noexcept {
  const signal_set now = process_mask();
  if (kernel_mask.load(std::memory_order_relaxed) == now) return;
  claim_process_mask();
}

void claim_process_mask() noexcept {
  const signal_set now = process_mask();
  kernel_mask.store(now, std::memory_order_relaxed);
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &now, nullptr, sizeof now);
}

signal_set return_to_process_mask() noexcept {
  const signal_set now = process_mask();
  kernel_mask.store(now, std::memory_order_relaxed);
  return now;
}

void note_signal(const siginfo_t& info) noexcept {
  const signal_set bit = signal_bit(info.si_signo);
  // signal(7): a standard signal that is pending is pending once.
  if (info.si_signo < first_queued && (noted_set.load(std::memory_order_acquire) & bit)) return;
  for (note& n : notes) {
    std::uint32_t free = 0;
    if (!n.state.compare_exchange_strong(free, 1, std::memory_order_acquire)) continue;
    n.info = info;
    n.order = note_order.fetch_add(1, std::memory_order_relaxed);
    n.state.store(2, std::memory_order_release);
    noted_set.fetch_or(bit, std::memory_order_acq_rel);
    return;
  }
}

signal_set noted() noexcept { return noted_set.load(std::memory_order_acquire); }

namespace {

// The oldest note of a set; null if there is none. route_lock is held.
note* oldest(signal_set set) noexcept {
  note* found = nullptr;
  for (note& n : notes) {
    if (n.state.load(std::memory_order_acquire) != 2 || !(signal_bit(n.info.si_signo) & set)) continue;
    if (!found || static_cast<std::int32_t>(n.order - found->order) < 0) found = &n;
  }
  return found;
}

siginfo_t take(note& n) noexcept {
  const siginfo_t info = n.info;
  noted_set.fetch_and(~signal_bit(info.si_signo), std::memory_order_acq_rel);
  n.state.store(0, std::memory_order_release);
  if (note* other = oldest(signal_bit(info.si_signo)))
    noted_set.fetch_or(signal_bit(other->info.si_signo), std::memory_order_acq_rel);
  return info;
}

}  // namespace

int take_noted(signal_set set, siginfo_t& info) noexcept {
  if (!(noted() & set)) return 0;
  const base::spin_guard guard(route_lock);
  note* n = oldest(set);
  if (!n) return 0;
  info = take(*n);
  return info.si_signo;
}

namespace {

// At its home: the signal is pending for it, and ends the wait it is in, as a signal would.
void accept_signal(thread& t, pending_signal& p) noexcept {
  const signal_set bit = signal_bit(p.info.si_signo);
  if (p.info.si_signo < first_queued && (t.pending & bit)) return base::arena_free(&p);
  pending_signal** end = &t.pending_first;
  while (*end) end = &(*end)->next;
  p.next = nullptr;
  *end = &p;
  t.pending |= bit;
  if (!has_deliverable(t) && !(t.awaited & bit)) return;
  if (t.held_by) return interrupt_carrier(*t.held_by);
  if (t.state == fiber_state::parked && t.reason.in_call && wake(*t.wait, wait_result::ready)) t.interrupted = true;
}

struct signal_mail : message {
  pending_signal* signal;
  std::uint32_t tid;
};

void send_home(worker_core& home, std::uint32_t tid, pending_signal& p) noexcept {
  auto* mail = static_cast<signal_mail*>(base::arena_allocate(sizeof(signal_mail)));
  if (!mail) return base::arena_free(&p);
  mail->signal = &p;
  mail->tid = tid;
  mail->deliver = [](message& m) noexcept {
    auto& s = static_cast<signal_mail&>(m);
    const bool there = with_thread(s.tid, [](thread& t, void* signal) {
      accept_signal(t, *static_cast<pending_signal*>(signal));
    }, s.signal);
    if (!there) base::arena_free(s.signal);
    base::arena_free(&s);
  };
  if (!post(home, *mail)) {
    base::arena_free(&p);
    base::arena_free(mail);
  }
}

pending_signal* make_pending(const siginfo_t& info) noexcept {
  auto* p = static_cast<pending_signal*>(base::arena_allocate(sizeof(pending_signal)));
  if (p) p->info = info;
  return p;
}

struct search {
  signal_set bit;
  std::uint32_t tid;
  worker_core* home;
};

bool takes(thread& t, void* argument) {
  auto& s = *static_cast<search*>(argument);
  if ((t.mask.load(std::memory_order_relaxed) & s.bit) && !(t.awaited & s.bit)) return false;
  s.tid = t.tid;
  s.home = t.home;
  return true;
}

// signal(7): any thread that doesn't block it; like the kernel, the main thread before others.
bool find_taker(search& s, thread* me) noexcept {
  if (thread* main = main_thread(); main && takes(*main, &s)) return true;
  if (me && takes(*me, &s)) return true;
  return any_thread(takes, &s);
}

}  // namespace

void route_signals(worker_core& here) noexcept {
  if (here.index == 0) apply_process_mask();
  route_closed(here);
}

void route_closed(worker_core& here) noexcept {
  context::this_block().signalled.store(0, std::memory_order_relaxed);
  here.signalled.store(0, std::memory_order_seq_cst);
  thread* me = here.current == &here.loop ? nullptr : static_cast<thread*>(here.current.get());
  signal_set left = noted();
  while (left) {
    search s{};
    pending_signal* p = nullptr;
    siginfo_t timer;
    timer.si_signo = 0;
    {
      const base::spin_guard guard(route_lock);
      note* n = oldest(left);
      if (!n) break;
      s.bit = signal_bit(n->info.si_signo);
      if (n->info.si_signo == tick_signal) {
        timer = take(*n);
      } else if (!find_taker(s, me)) {
        left &= ~s.bit;
        continue;
      } else {
        p = make_pending(n->info);
        if (!p) return;
        take(*n);
      }
    }
    if (timer.si_signo) {
      if (read_thread_timer(timer, s.tid)) send_to_thread(s.tid, timer);
      continue;
    }
    if (s.home != &here) {
      send_home(*s.home, s.tid, *p);
    } else if (!with_thread(s.tid, [](thread& t, void* signal) {
                 accept_signal(t, *static_cast<pending_signal*>(signal));
               }, p)) {
      base::arena_free(p);
    }
  }
}

long send_to_thread(std::uint32_t tid, const siginfo_t& info) noexcept {
  worker_core* home = nullptr;
  if (!with_thread(tid, [](thread& t, void* found) { *static_cast<worker_core**>(found) = t.home; }, &home)) return -ESRCH;
  if (!info.si_signo) return 0;
  const signal_action a = action_of(info.si_signo);
  if (a.function == reinterpret_cast<void*>(SIG_IGN)) return 0;
  pending_signal* p = make_pending(info);
  if (!p) return -EAGAIN;
  if (home != this_worker()) {
    send_home(*home, tid, *p);
  } else if (!with_thread(tid, [](thread& t, void* signal) {
               accept_signal(t, *static_cast<pending_signal*>(signal));
             }, p)) {
    base::arena_free(p);
  }
  return 0;
}

int take_pending(thread& t, signal_set set, siginfo_t& info) noexcept {
  signal_set others = 0;
  pending_signal* found = nullptr;
  for (pending_signal** at = &t.pending_first; *at;) {
    const signal_set bit = signal_bit((*at)->info.si_signo);
    if (!found && (bit & set)) {
      found = *at;
      *at = found->next;
      continue;
    }
    others |= bit;
    at = &(*at)->next;
  }
  t.pending = others;
  if (!found) return 0;
  info = found->info;
  base::arena_free(found);
  return info.si_signo;
}

void signals_after_fork(thread& me) noexcept {
  actions_lock.store(0, std::memory_order_relaxed);
  mask_lock.store(0, std::memory_order_relaxed);
  route_lock.store(0, std::memory_order_relaxed);
  std::memset(open_to, 0, sizeof open_to);
  // fork(2): the child has none pending.
  for (note& n : notes) n.state.store(0, std::memory_order_relaxed);
  noted_set.store(0, std::memory_order_relaxed);
  while (pending_signal* p = me.pending_first) {
    me.pending_first = p->next;
    base::arena_free(p);
  }
  me.pending = 0;
  signal_set now = 0;
  sys::raw(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &now, sizeof now);
  kernel_mask.store(now, std::memory_order_relaxed);
  count_mask(0, me.mask.load(std::memory_order_relaxed), 0);
  apply_process_mask();
}

}  // namespace bide::core
