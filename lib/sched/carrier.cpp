#include "lib/sched/carrier.hpp"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include <new>

#include "asm/trap.h"
#include "lib/base/arena.hpp"
#include "lib/base/assert.hpp"
#include "lib/base/race.hpp"
#include "lib/base/spin.hpp"
#include "lib/base/text.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sched/standing.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {
namespace {

constexpr unsigned long stack_size = 64 * 1024 + sizeof(carrier);
constexpr std::int64_t linger = base::second;

std::atomic<std::uint32_t> list_lock;
carrier* spares = nullptr;            // guarded by list_lock
std::atomic<unsigned> count{1};       // of all carriers
int (*prepare)() noexcept = nullptr;

// Where FS points in a context that is no thread's: nothing of libc's that needs a thread is called there, but libev is
// built with the stack protector, whose guard is at 40.
alignas(64) char bare_thread[8192];
std::uintptr_t bare_thread_pointer() noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(bare_thread + 4096);
  *reinterpret_cast<std::uintptr_t*>(at) = *reinterpret_cast<std::uintptr_t*>(at + 16) = at;
  return at;
}

void block_signals(signal_set mask) noexcept {
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
}

// A fiber that waited in the kernel while its worker went on is ready again, once its stack is left.
void go_home(fiber& f) noexcept {
  f.mail.about = &f;
  f.mail.deliver = [](message& m) noexcept {
    auto& t = *static_cast<thread*>(static_cast<fiber*>(m.about));
    t.held_by = nullptr;
    make_ready(*t.home, t);
  };
  BIDE_ASSERT(post(*f.home, f.mail), "a thread came back from the kernel and its worker has ended");
}

// On the carrier's own stack: the context that a fiber left because its worker is gone.
void left_by(context::arrival a) noexcept {
  fiber& f = *static_cast<fiber*>(a.data);
  f.ctx = a.fctx;
  const auto action = f.after_leaving;
  f.after_leaving = nullptr;
  action(f);
}

void carry(carrier& me, worker_core& w) noexcept {
  w.carrier = &me;
  me.block.worker = &w;
  w.signalled.store(1, std::memory_order_relaxed);  // whatever came while nobody carried it
  w.current = &w.loop;
  w.switched_at = base::ticks();
  if (w.index == 0) {
    claim_process_mask();
  }
  left_by(context::jump(w.loop.ctx, &me.idle));
}

// Waits as a spare until it is given a worker; null: it had nothing to do for a while and is to end.
worker_core* wait_for_worker(carrier& me) noexcept {
  block_signals(deaf);
  const std::uint32_t seen = me.order.load(std::memory_order_acquire);
  if (worker_core* w = me.given.exchange(nullptr, std::memory_order_acq_rel)) return w;
  base::spin_lock(list_lock);
  me.next = spares;
  spares = &me;
  base::spin_unlock(list_lock);
  for (;;) {
    const bool may_end = me.stack && !me.served_ring;
    const long how =
        sys::futex_wait(me.order, seen, may_end ? base::after(base::kernel_now(), linger) : base::never);
    if (worker_core* w = me.given.exchange(nullptr, std::memory_order_acq_rel)) return w;
    if (how != -ETIMEDOUT) continue;
    const base::spin_guard guard(list_lock);
    // One is kept: the next call that waits finds it.
    if (spares == &me && !me.next) continue;
    for (carrier** at = &spares; *at; at = &(*at)->next) {
      if (*at != &me) continue;
      *at = me.next;
      return nullptr;
    }
  }
}

[[noreturn]] void serve(carrier& me) noexcept {
  while (worker_core* w = wait_for_worker(me)) carry(me, *w);
  count.fetch_sub(1, std::memory_order_relaxed);
  void* stack = me.stack;
  const unsigned long bytes = me.stack_bytes;
  bide_gate_end_thread(stack, bytes);  // the record stands on it
}

void begin(void* p) {
  carrier& me = *static_cast<carrier*>(p);
  context::set_block(me.block);
  context::let_fs_slip();
  me.tid = sys::raw(SYS_gettid);
  sys::raw(SYS_prctl, 15 /* PR_SET_NAME */, "bide-carrier");
  take_signal_stack();
  BIDE_ASSERT(prepare() == 0, "a kernel thread can't arm the trap door that the first one armed");
  serve(me);
}

// The first kernel thread's own context begins when the first fiber leaves it there.
void first_idle(context::arrival a) {
  left_by(a);
  serve(*static_cast<carrier*>(context::this_block().carrier));
}

void init(carrier& c) noexcept {
  c.block.carrier = &c;
  c.block.inside = 1;
  c.idle.thread_pointer = bare_thread_pointer();
  c.block.thread_pointer = c.idle.thread_pointer;
}

void loop_main(context::arrival a) {
  auto& w = *static_cast<worker*>(this_worker());
  arrive(w.loop, a);
  w.run();
}

}  // namespace

long start_kernel_thread(void (*run)(void*), void* argument, char* stack, unsigned long bytes) noexcept {
  auto** top = reinterpret_cast<void**>(stack + bytes - 64);
  top[0] = reinterpret_cast<void*>(run);
  top[1] = argument;
  signal_set before = 0, all = ~signal_set{0};
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
  constexpr unsigned long flags =
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
  const long tid = bide_gate_thread(flags, top, nullptr, nullptr, bare_thread_pointer());
  sys::raw(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  return tid;
}

namespace {

// Returns a carrier that nobody has given anything yet, or null.
carrier* new_carrier() noexcept {
  auto* stack = static_cast<char*>(base::reserve(stack_size));
  if (!stack) return nullptr;
  auto* c = ::new (stack) carrier;  // its stack grows towards it
  init(*c);
  c->stack = stack;
  c->stack_bytes = stack_size;
  return c;
}

bool launch(carrier& c) noexcept {
  count.fetch_add(1, std::memory_order_relaxed);
  if (start_kernel_thread(begin, &c, static_cast<char*>(c.stack), c.stack_bytes) > 0) return true;
  count.fetch_sub(1, std::memory_order_relaxed);
  sys::raw(SYS_munmap, c.stack, c.stack_bytes);
  return false;
}

// Has a spare kernel thread, or a new one, carry the worker. False when there is none to be had.
bool give(worker_core& w) noexcept {
  base::spin_lock(list_lock);
  carrier* c = spares;
  if (c) spares = c->next;
  base::spin_unlock(list_lock);
  if (c) {
    base::race_point();
    c->served_ring |= w.uses_ring;
    c->given.store(&w, std::memory_order_release);
    c->order.fetch_add(1, std::memory_order_release);
    sys::futex_wake(c->order, 1);
    return true;
  }
  c = new_carrier();
  if (!c) return false;
  c->given.store(&w, std::memory_order_release);
  return launch(*c);
}

// The running thread, which has no worker any more, leaves its stack and waits to be run at home.
void go_back(carrier& c, thread& me) noexcept {
  me.state = fiber_state::parked;
  me.reason = {"its worker"};
  me.after_leaving = go_home;
  base::race_point();
  context::set_thread_pointer(c.idle.thread_pointer);
  arrive(me, context::jump(c.idle.ctx, &me));
}

}  // namespace

int open_carriers(worker_core& first, carrier& me, int (*arm)() noexcept) noexcept {
  prepare = arm;
  init(me);
  me.tid = sys::raw(SYS_gettid);
  char* stack = static_cast<char*>(base::reserve(stack_size));
  if (!stack) return -ENOMEM;
  me.idle.ctx = context::make(stack + stack_size - 64, stack_size - 64, first_idle);
  first.carrier = &me;
  return prepare_worker(first);
}

int prepare_worker(worker_core& w) noexcept {
  constexpr unsigned long bytes = 256 * 1024;
  char* stack = static_cast<char*>(base::reserve(bytes));
  if (!stack) return -ENOMEM;
  w.loop.ctx = context::make(stack + bytes - 64, bytes - 64, loop_main);
  w.bare_thread_pointer = bare_thread_pointer();
  w.loop.home = &w;
  w.loop.state = fiber_state::ready;
  return 0;
}

void start_workers(runtime& rt) noexcept {
  if (rt.count == 1 || !base::one_worker) return;
  base::one_worker = false;  // from here on locks are locks
  for (unsigned i = 1; i < rt.count; ++i) {
    if (give(*rt.workers[i])) continue;
    base::text t;
    (t << "bide: only " << i << " of " << rt.count << " workers: no more kernel threads can be started; see ulimit -u\n")
        .to_stderr();
    rt.count = i;
    base::one_worker = i == 1;
  }
}

long call_kernel(long nr, long a, long b, long c, long d, long e, long f, waiting how) noexcept {
  worker_core& w = *this_worker();
  if (w.signalled.load(std::memory_order_relaxed)) return -EINTR;
  // Nobody else is there to be held up.
  if (live_threads() == 1) return bide_gate_wait(nr, a, b, c, d, e, f);
  auto& me = *static_cast<thread*>(w.current.get());
  auto& mine = *static_cast<carrier*>(w.carrier);
  mine.block.signalled.store(0, std::memory_order_relaxed);
  w.kernel_calls.store(w.kernel_calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (how == waiting::surely) {
    me.held_by = &mine;
    mine.block.worker = nullptr;
    if (give(w)) {
      const long answer = bide_gate_wait(nr, a, b, c, d, e, f);
      go_back(mine, me);
      return answer;
    }
    me.held_by = nullptr;
  }
  mine.block.worker = nullptr;
  w.in_kernel.store(&mine, std::memory_order_release);
  const long answer = bide_gate_wait(nr, a, b, c, d, e, f);
  base::race_point();
  void* expected = &mine;
  if (w.in_kernel.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel) ||
      !base::kept(base::protection::claim)) {
    mine.block.worker = &w;
    if (mine.block.signalled.load(std::memory_order_relaxed)) w.signalled.store(1, std::memory_order_relaxed);
  } else {
    go_back(mine, me);
  }
  return answer;
}

bool take_from_kernel_thread(worker_core& w, void* holder) noexcept {
  auto& t = *static_cast<thread*>(w.current.get());
  t.held_by = static_cast<carrier*>(holder);
  base::race_point();
  if (!w.in_kernel.compare_exchange_strong(holder, nullptr, std::memory_order_acq_rel)) {
    return false;
  }
  if (give(w)) return true;
  // No kernel thread to be had: the stuck one finds it when it comes back.
  w.in_kernel.store(t.held_by, std::memory_order_release);
  return false;
}

void keep_kernel_thread() noexcept {
  worker_core& w = *this_worker();
  w.uses_ring = true;
  static_cast<carrier*>(w.carrier)->served_ring = true;
}

void interrupt_carrier(carrier& c) noexcept {
  sys::raw(SYS_tgkill, sys::raw(SYS_getpid), c.tid, tick_signal);
}

void lend_for_tail(signal_set mask) noexcept {
  worker_core& w = *this_worker();
  auto& mine = *static_cast<carrier*>(w.carrier);
  mine.lent = &w;
  mine.tail_thread = static_cast<thread*>(w.current.get());
  mine.block.returned = 0;
  w.kernel_calls.store(w.kernel_calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  mine.block.worker = nullptr;
  if (live_threads() > 1) w.in_kernel.store(&mine, std::memory_order_release);
  block_signals(mask);
  stand_as(*mine.tail_thread);
  context::hold_fs();
}

bool tail_has_returned() noexcept {
  const context::carrier_block& here = context::this_block();
  return !here.worker && here.returned;
}

void return_from_tail() noexcept {
  context::carrier_block& here = context::this_block();
  auto& mine = *static_cast<carrier*>(here.carrier);
  worker_core& w = *mine.lent;
  here.returned = 0;
  mine.lent = nullptr;
  context::let_fs_slip();
  stand_as_before(*mine.tail_thread);
  void* expected = &mine;
  if (live_threads() == 1 || w.in_kernel.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) {
    here.worker = &w;
    open_to_signals(w);
  } else {
    // Only one thread waits on this kernel thread: the one that called.
    go_back(mine, *mine.tail_thread);
  }
}

void carriers_after_fork(worker_core& mine) noexcept {
  list_lock.store(0, std::memory_order_relaxed);
  spares = nullptr;
  count.store(1, std::memory_order_relaxed);
  base::one_worker = true;
  auto& me = *static_cast<carrier*>(mine.carrier);
  me.tid = sys::raw(SYS_gettid);
  me.given.store(nullptr, std::memory_order_relaxed);
  me.stack = nullptr;  // it is the process's first kernel thread, and stays
  mine.in_kernel.store(nullptr, std::memory_order_relaxed);
  BIDE_ASSERT(prepare() == 0, "fork: the child can't arm the trap door");
}

unsigned carriers() noexcept { return count.load(std::memory_order_relaxed); }

void open_to_signals(const worker_core& w) noexcept {
  if (w.index == 0) return claim_process_mask();
  block_signals(deaf);
}

void close_to_signals() noexcept { block_signals(deaf | signal_bit(tick_signal)); }

signal_set mask_to_return_with(const worker_core& w) noexcept { return w.index == 0 ? return_to_process_mask() : deaf; }

stack_t signal_stack_here() noexcept {
  auto& mine = *static_cast<carrier*>(context::this_block().carrier);
  return {mine.signal_stack, 0, sizeof mine.signal_stack};
}

stack_t take_signal_stack() noexcept {
  const stack_t mine = signal_stack_here();
  stack_t before{nullptr, SS_DISABLE, 0};
  sys::raw(SYS_sigaltstack, &mine, &before);
  return before;
}

}  // namespace bide::core
