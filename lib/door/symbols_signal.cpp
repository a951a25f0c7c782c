// Signal handlers: the program's own is called by ours, which tells the runtime that one ran, because a thread blocked in
// a call would have seen EINTR. What the program asks back is what it set.
#include <signal.h>

#include <atomic>

#include "lib/call/border.hpp"
#include "lib/door/door.hpp"

namespace {

using namespace bide;

struct handler {
  std::atomic<void*> function{nullptr};
  std::atomic<int> flags{0};
};
handler handlers[_NSIG];  // by signal; written by sigaction, read by our handler

void run_handler(int number, siginfo_t* info, void* machine) {
  handler& h = handlers[number];
  const int flags = h.flags.load(std::memory_order_relaxed);
  void* function = h.function.load(std::memory_order_acquire);
  // A broken pipe is the writer's own, who is running.
  if (number != SIGPIPE) bide_note_signal(flags & SA_RESTART);
  const bool hidden = bide_enter_handler(machine);
  if (flags & SA_SIGINFO)
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(function)(number, info, machine);
  else if (function)
    reinterpret_cast<void (*)(int)>(function)(number);
  if (hidden) bide_leave_handler();
}

// A fault is answered on the spot, by whoever made it; nobody waits in a call then.
bool of_interest(int number) noexcept {
  switch (number) {
    case SIGSEGV: case SIGBUS: case SIGFPE: case SIGILL: case SIGTRAP: case SIGSYS: case SIGABRT: return false;
    default: return number > 0 && number < _NSIG;
  }
}

BIDE_NAME(sigaction);
BIDE_NAME(signal);

int set_action(int number, const struct sigaction* wanted, struct sigaction* before) noexcept {
  using kind = int(int, const struct sigaction*, struct sigaction*);
  door::find_libc(sigaction_name);
  const auto libc = door::real<kind>(sigaction_name);
  if (!libc) {
    errno = ENOSYS;
    return -1;
  }
  // On a worker the trap door sees to that, and tells what it has taken off. SIGSYS is its own.
  if (wanted && !door::on_fiber()) {
    if (number == SIGSYS && bide_traps()) {
      errno = EBUSY;
      return -1;
    }
    if (sigismember(&wanted->sa_mask, SIGSYS) && bide_traps()) {
      struct sigaction without = *wanted;
      sigdelset(&without.sa_mask, SIGSYS);
      return set_action(number, &without, before);
    }
  }
  if (!of_interest(number)) return libc(number, wanted, before);
  if (wanted) bide_expect_handlers();
  handler& h = handlers[number];
  void* const old_function = h.function.load(std::memory_order_relaxed);
  const int old_flags = h.flags.load(std::memory_order_relaxed);
  struct sigaction ours;
  if (wanted) {
    ours = *wanted;
    if (wanted->sa_handler != SIG_DFL && wanted->sa_handler != SIG_IGN) {
      h.flags.store(wanted->sa_flags, std::memory_order_relaxed);
      h.function.store(reinterpret_cast<void*>(wanted->sa_handler), std::memory_order_release);
      ours.sa_sigaction = run_handler;
      ours.sa_flags |= SA_SIGINFO;
    }
  }
  struct sigaction found;
  const int answer = libc(number, wanted ? &ours : nullptr, &found);
  if (answer == 0 && before) {
    *before = found;
    if ((found.sa_flags & SA_SIGINFO) && found.sa_sigaction == run_handler) {
      before->sa_handler = reinterpret_cast<void (*)(int)>(old_function);
      before->sa_flags = (found.sa_flags & ~SA_SIGINFO) | (old_flags & SA_SIGINFO);
    }
  }
  return answer;
}

using simple_handler = void (*)(int);

simple_handler set_simple(int number, simple_handler wanted, int flags) noexcept {
  struct sigaction now {}, before;
  now.sa_handler = wanted;
  now.sa_flags = flags;
  return set_action(number, &now, &before) == 0 ? before.sa_handler : SIG_ERR;
}

}  // namespace

extern "C" BIDE_API int sigaction(int number, const struct sigaction* wanted, struct sigaction* before) {
  return set_action(number, wanted, before);
}
extern "C" BIDE_API int __sigaction(int number, const struct sigaction* wanted, struct sigaction* before) {
  return set_action(number, wanted, before);
}
// signal(2): BSD semantics under the names of BSD, System V's under theirs.
extern "C" BIDE_API simple_handler signal(int number, simple_handler wanted) {
  return set_simple(number, wanted, SA_RESTART);
}
extern "C" BIDE_API simple_handler bsd_signal(int number, simple_handler wanted) {
  return set_simple(number, wanted, SA_RESTART);
}
extern "C" BIDE_API simple_handler ssignal(int number, simple_handler wanted) {
  return set_simple(number, wanted, SA_RESTART);
}
extern "C" BIDE_API simple_handler sysv_signal(int number, simple_handler wanted) {
  return set_simple(number, wanted, static_cast<int>(SA_RESETHAND | SA_NODEFER));
}
extern "C" BIDE_API simple_handler __sysv_signal(int number, simple_handler wanted) {
  return set_simple(number, wanted, static_cast<int>(SA_RESETHAND | SA_NODEFER));
}
extern "C" BIDE_API int siginterrupt(int number, int interrupts) {
  struct sigaction now;
  if (set_action(number, nullptr, &now) != 0) return -1;
  now.sa_flags = interrupts ? now.sa_flags & ~SA_RESTART : now.sa_flags | SA_RESTART;
  return set_action(number, &now, nullptr);
}

// Out of a handler, it may be, which then doesn't come to its end.
#define BIDE_JUMP(n)                                                                    \
  namespace {                                                                           \
  BIDE_NAME(n);                                                                         \
  }                                                                                     \
  extern "C" [[noreturn]] BIDE_API void bide_door_##n(void* to, int value) __asm__(#n); \
  extern "C" [[noreturn]] BIDE_API void bide_door_##n(void* to, int value) {            \
    bide_leave_handler();                                                               \
    door::find_libc(n##_name);                                                          \
    door::real<void(void*, int)>(n##_name)(to, value);                                  \
    __builtin_unreachable();                                                            \
  }

BIDE_JUMP(longjmp)
BIDE_JUMP(_longjmp)
BIDE_JUMP(siglongjmp)
BIDE_JUMP(__longjmp_chk)
