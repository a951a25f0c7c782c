#include "lib/sched/standing.hpp"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>

#include <new>

#include "asm/trap.h"
#include "lib/base/arena.hpp"
#include "lib/base/clock.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/threads.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {
namespace {

constexpr int io_of_process = 1;  // IOPRIO_WHO_PROCESS
constexpr unsigned long stack_size = 16 * 1024;

// The processors of all kernel threads here; written before any thread has its own.
unsigned char common_cpus[sizeof standing::cpus];

// A kernel thread on which settings are tried. It sleeps until it is to end.
class trial {
 public:
  trial() noexcept : room_(static_cast<char*>(base::reserve(stack_size))) {
    if (!room_) return;
    over_ = ::new (room_) std::atomic<std::uint32_t>(0);
    tid_ = start_kernel_thread(sleep, room_, room_, stack_size);
    if (tid_ < 0) sys::raw(SYS_munmap, room_, stack_size);
  }
  ~trial() {
    if (tid_ < 0) return;
    // It unmaps the word as soon as it has seen it; a wake of nobody is an error that means nothing.
    over_->store(1, std::memory_order_release);
    sys::raw(SYS_futex, room_, FUTEX_WAKE_PRIVATE, 1);
  }
  trial(const trial&) = delete;
  trial& operator=(const trial&) = delete;

  long tid() const noexcept { return tid_; }

 private:
  static void sleep(void* room) {
    auto& over = *static_cast<std::atomic<std::uint32_t>*>(room);
    while (!over.load(std::memory_order_acquire)) sys::futex_wait(over, 0, base::never);
    bide_gate_end_thread(room, stack_size);
  }

  char* room_;
  std::atomic<std::uint32_t>* over_ = nullptr;
  long tid_ = -ENOMEM;
};

void give(long tid, const standing& s) noexcept {
  sys::raw(SYS_setpriority, PRIO_PROCESS, tid, s.nice);
  sys::raw(SYS_sched_setattr, tid, &s.how, 0);
  sys::raw(SYS_ioprio_set, io_of_process, tid, s.io_priority);
  sys::raw(SYS_sched_setaffinity, tid, s.cpu_bytes, s.cpus);
}

standing* read_from(long tid) noexcept {
  void* room = base::arena_allocate(sizeof(standing));
  if (!room) return nullptr;
  auto* s = ::new (room) standing{};
  sys::raw(SYS_sched_getattr, tid, &s->how, sizeof s->how, 0);
  s->nice = static_cast<int>(20 - sys::raw(SYS_getpriority, PRIO_PROCESS, tid));
  s->io_priority = static_cast<int>(sys::raw(SYS_ioprio_get, io_of_process, tid));
  sys::raw(SYS_sched_rr_get_interval, tid, &s->slice);
  const long bytes = sys::raw(SYS_sched_getaffinity, tid, sizeof s->cpus, s->cpus);
  s->cpu_bytes = bytes > 0 ? static_cast<std::uint32_t>(bytes) : 0;
  return s;
}

}  // namespace

long change_standing(std::uint32_t tid, long nr, long (&arguments)[4], int place) noexcept {
  const standing* const was = standing_of(tid);
  if (!was) sys::raw(SYS_sched_getaffinity, 0, sizeof common_cpus, common_cpus);
  long answer;
  standing* now = nullptr;
  {
    const trial on;
    answer = on.tid();
    if (answer > 0) {
      if (was) give(on.tid(), *was);
      arguments[place] = on.tid();
      answer = sys::raw(nr, arguments[0], arguments[1], arguments[2], arguments[3]);
      if (answer >= 0 && !(now = read_from(on.tid()))) answer = -ENOMEM;
    }
  }
  let_go(was);
  if (!now) return answer;
  const standing* kept = now;
  const auto exchange = [](thread& t, void* with) { std::swap(t.stands, *static_cast<const standing**>(with)); };
  if (!with_thread(tid, exchange, &kept)) answer = -ESRCH;
  let_go(kept);
  return answer;
}

const standing* standing_of(std::uint32_t tid) noexcept {
  const standing* found = nullptr;
  with_thread(tid, [](thread& t, void* to) {
    if (t.stands) const_cast<standing*>(t.stands)->holders.fetch_add(1, std::memory_order_relaxed);
    *static_cast<const standing**>(to) = t.stands;
  }, &found);
  return found;
}

void let_go(const standing* s) noexcept {
  auto* mine = const_cast<standing*>(s);
  if (mine && mine->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) base::arena_free(mine);
}

void inherit_standing(thread& child, const thread& maker) noexcept {
  child.stands = standing_of(maker.tid);
  child.timer_slack = maker.timer_slack;
}

void stand_as(const thread& t) noexcept {
  if (t.stands) sys::raw(SYS_sched_setaffinity, 0, t.stands->cpu_bytes, t.stands->cpus);
}

void stand_as_before(const thread& t) noexcept {
  if (t.stands) sys::raw(SYS_sched_setaffinity, 0, sizeof common_cpus, common_cpus);
}

long answer_for_thread(long nr) noexcept {
  const trial on;
  return on.tid() < 0 ? on.tid() : sys::raw(nr, on.tid(), 0);
}

void standing_after_fork(thread& me) noexcept {
  me.death_signal = 0;  // prctl(2): the child has none
  if (me.timer_slack) sys::raw(SYS_prctl, 29 /* PR_SET_TIMERSLACK */, me.timer_slack);
  me.timer_slack = 0;
  if (!me.stands) return;
  give(0, *me.stands);
  let_go(me.stands);
  me.stands = nullptr;
}

}  // namespace bide::core
