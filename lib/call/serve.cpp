#include "lib/call/serve.hpp"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "lib/base/race.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/border.hpp"
#include "lib/call/table.hpp"
#include "lib/call/wrap.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/handlers.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sched/spare_stack.hpp"

namespace bide::call {
namespace {

using core::handlers_ran;

std::uintptr_t end_of_call(const ucontext_t& u) noexcept {
  return static_cast<std::uintptr_t>(u.uc_mcontext.gregs[REG_RSP]) - context::page;
}

bool has_timeout(long fd, int option) noexcept {
  timeval t{};
  socklen_t size = sizeof t;
  return sys::raw(SYS_getsockopt, fd, SOL_SOCKET, option, &t, &size) == 0 && (t.tv_sec || t.tv_usec);
}

// signal(7): what is never restarted, whatever SA_RESTART says, and comes here from the kernel itself.
bool kernel_restarts(const request& r) noexcept {
  switch (r.nr) {
    case SYS_poll: case SYS_ppoll: case SYS_select: case SYS_pselect6: case SYS_epoll_wait: case SYS_epoll_pwait:
    case SYS_epoll_pwait2: case SYS_nanosleep: case SYS_clock_nanosleep: case SYS_semop: case SYS_semtimedop: case SYS_msgrcv: case SYS_msgsnd: case SYS_io_getevents: case SYS_pause:
    case SYS_io_uring_enter:
      return false;
    case SYS_read: case SYS_readv: case SYS_recvfrom: case SYS_recvmsg: case SYS_accept: case SYS_accept4:
      return !has_timeout(r.a, SO_RCVTIMEO);
    case SYS_write: case SYS_writev: case SYS_sendto: case SYS_sendmsg: case SYS_connect:
      return !has_timeout(r.a, SO_SNDTIMEO);
    default: return true;
  }
}

// A wait under a signal mask of its own: the kernel's mask is not the thread's, so it is ours also where the thread is
// alone.
bool has_own_mask(const request& r) noexcept {
  switch (r.nr) {
    case SYS_ppoll: return r.d;
    case SYS_pselect6: return r.f;
    case SYS_epoll_pwait: case SYS_epoll_pwait2: return r.e;
    default: return false;
  }
}

// The runtime's own descriptors are none of the program's: it is told so wherever it looks which are open.
bool asks_of_own_fd(const request& r) noexcept {
  const bool asks = r.nr == SYS_fstat || (r.nr == SYS_newfstatat && (r.d & AT_EMPTY_PATH)) || r.nr == SYS_fcntl;
  return asks && io::is_own_fd(static_cast<int>(r.a));
}

// What the kernel would do without making its caller wait: not worth the bracket of call_kernel.
bool never_waits(long nr) noexcept {
  switch (nr) {
    case SYS_brk:
    case SYS_getpid: case SYS_getppid: case SYS_getuid: case SYS_geteuid: case SYS_getgid: case SYS_getegid:
    case SYS_clock_gettime: case SYS_gettimeofday: case SYS_epoll_ctl: case SYS_getsockopt: case SYS_getsockname:
    case SYS_getpeername: case SYS_bind: case SYS_listen: case SYS_lseek: case SYS_kill:
    case SYS_fstat: case SYS_getrusage: case SYS_timerfd_settime: case SYS_epoll_create1: case SYS_eventfd2:
      return true;
    default: return false;
  }
}

bool is_wrapped(function call, long nr) noexcept { return call && call != standard_entry(nr); }

// One signal handler's view of what it interrupted; made only when there is a handler to run.
handlers_ran deliver(core::thread& me, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*), const void* from) {
  if (interrupted) return core::run_handlers(me, *interrupted);
  ucontext_t made;
  memset(&made, 0, sizeof made);
  if (fill) fill(made, from);
  return core::run_handlers(me, made);
}

}  // namespace

bool comes_from_call(const ucontext_t& u) noexcept {
  constexpr unsigned char instruction[] = {0x0f, 0x05};
  unsigned char before[sizeof instruction], there;
  return copy_in(before, reinterpret_cast<void*>(u.uc_mcontext.gregs[REG_RIP] - 2), sizeof before) == 0 &&
         memcmp(before, instruction, sizeof before) == 0 &&
         copy_in(&there, reinterpret_cast<void*>(end_of_call(u)), 1) == -EFAULT;
}

siginfo_t as_natively(const siginfo_t& info, const ucontext_t& u, const core::thread& me) noexcept {
  siginfo_t i = info;
  if (i.si_signo != SIGSEGV) return i;
  if (i.si_code == SI_KERNEL && comes_from_call(u)) {
    i.si_code = SEGV_MAPERR;
    i.si_addr = reinterpret_cast<void*>(end_of_call(u));
  }
  if (i.si_code == SEGV_MAPERR && is_stack_guard(i.si_addr, me)) i.si_code = SEGV_ACCERR;
  return i;
}

// Makes the call by its entry, null: by the kernel, until it has an answer for the program. A wrapped entry's is one already.
template <function (*entry_now)(long) noexcept>
static long until_answered(const request& r, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*),
                           const void* from) {
  core::thread& me = *core::this_thread();
  for (;;) {
    me.restartable = true;
    me.interrupted = false;
    const function call = entry_now(r.nr);
    long answer;
    if (asks_of_own_fd(r)) [[unlikely]] {
      answer = -EBADF;
    } else if (call && !(core::live_threads() == 1 && !base::shown_time() && only_waits(r.nr) && !has_own_mask(r))) {
      answer = call(r.a, r.b, r.c, r.d, r.e, r.f);
    } else if (never_waits(r.nr)) {
      answer = bide_gate(r.nr, r.a, r.b, r.c, r.d, r.e, r.f);
    } else {
      answer = core::call_kernel(r.nr, r.a, r.b, r.c, r.d, r.e, r.f);
      if (answer == -EINTR) me.restartable = kernel_restarts(r);
    }
    const bool always = answer == restarted_always;
    if (always) answer = -EINTR;
    core::worker_core& w = *core::this_worker();
    if (w.signalled.load(std::memory_order_relaxed)) [[unlikely]] core::route_signals(w);
    if (core::has_deliverable(me)) [[unlikely]] {
      const handlers_ran how = deliver(me, interrupted, fill, from);
      if (is_wrapped(call, r.nr)) return answer;
      if (always || (answer == -EINTR && me.restartable && how == handlers_ran::all_restart)) continue;
      if (answer == -EINTR && how == handlers_ran::none) continue;  // it was ignored, or stopped and went on
      return answer;
    }
    if (me.mask_is_borrowed) [[unlikely]] core::return_mask(me);
    // Interrupted for nothing: the signal was another thread's. The kernel asked again would say the same.
    if (answer == -EINTR && (!call || always || core::live_threads() == 1) && !is_wrapped(call, r.nr)) [[unlikely]] continue;
    return answer;
  }
}

long serve(const request& r, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*), const void* from) {
  core::give_way();
  return until_answered<entry>(r, interrupted, fill, from);
}

long beneath_wrappers(long nr, const long (&a)[6]) {
  return until_answered<standard_entry>({nr, a[0], a[1], a[2], a[3], a[4], a[5]}, nullptr, nullptr, nullptr);
}

void leave(core::thread& me, ucontext_t* interrupted, void (*fill)(ucontext_t&, const void*), const void* from) {
  for (;;) {
    context::carrier_block& block = context::this_block();
    core::worker_core& w = *core::this_worker();
    base::race_point();
    block.inside = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    // From here on a handler delivers by itself what comes; what came before is delivered now.
    if (!w.signalled.load(std::memory_order_relaxed) && !core::has_deliverable(me)) [[likely]] {
      context::mend_thread_pointer();  // cheaper than the fault
      return;
    }
    block.inside = 1;
    core::route_signals(w);
    if (core::has_deliverable(me)) deliver(me, interrupted, fill, from);
  }
}

}  // namespace bide::call

// The symbol door's border.
extern "C" {

long bide_call(long nr, long a, long b, long c, long d, long e, long f) {
  using namespace bide;
  core::thread& me = *core::this_thread();
  core::overflow_here(me);
  context::this_block().inside = 1;
  long answer;
  core::with_enough_stack(me, [&] {
    greg_t* const outer = me.registers;
    me.registers = nullptr;
    answer = call::serve({nr, a, b, c, d, e, f}, nullptr, nullptr, nullptr);
    me.registers = outer;
    call::leave(me, nullptr, nullptr, nullptr);
  });
  return answer;
}

long bide_raw(long nr, long a, long b, long c, long d, long e, long f) noexcept {
  return bide_gate(nr, a, b, c, d, e, f);
}

bool bide_change_name(unsigned long thread_pointer, const char* from, char* to) noexcept {
  using namespace bide;
  struct {
    unsigned long at;
    const char* from;
    char* to;
  } what{thread_pointer, from, to};
  context::this_block().inside = 1;
  const bool found = core::any_thread([](core::thread& t, void* p) {
    const auto& w = *static_cast<decltype(what)*>(p);
    if (t.thread_pointer != w.at) return false;
    if (w.from) memcpy(t.comm, w.from, sizeof t.comm);
    if (w.to) memcpy(w.to, t.comm, sizeof t.comm);
    return true;
  }, &what);
  call::leave(*core::this_thread(), nullptr, nullptr, nullptr);
  return found;
}

unsigned bide_runtimes() noexcept { return bide::core::this_worker() ? 1 : 0; }

}  // extern "C"
