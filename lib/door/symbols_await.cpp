// Waiting for signals, giving way, terminals that drain, and syscall(2) itself.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <threads.h>
#include <unistd.h>

#include "lib/door/door.hpp"

namespace {

constexpr size_t kernel_mask_size = 8;

BIDE_NAME(sigwaitinfo);
BIDE_NAME(sigtimedwait);
BIDE_NAME(sigwait);
BIDE_NAME(sigpause);
BIDE_NAME(__xpg_sigpause);
BIDE_NAME(__sigpause);
BIDE_NAME(tcdrain);
BIDE_NAME(tcsendbreak);
BIDE_NAME(tcsetattr);
BIDE_NAME(thrd_sleep);
BIDE_NAME(thrd_yield);
BIDE_NAME(syscall);

using namespace bide;

long wait_for(const sigset_t* set, siginfo_t* info, const timespec* limit) {
  const long answer = door::call(SYS_rt_sigtimedwait, set, info, limit, kernel_mask_size);
  // As libc does: who sent it by tgkill(2) need not know of threads.
  if (answer > 0 && info && info->si_code == SI_TKILL) info->si_code = SI_USER;
  return answer;
}

// Waits under a mask given as sigpause's word of bits, or under the present one without a signal.
int pause_with(int signal_or_mask, bool signal) {
  unsigned long mask = static_cast<unsigned>(signal_or_mask);
  if (signal) {
    if (signal_or_mask < 1 || signal_or_mask >= _NSIG) return static_cast<int>(door::with_errno(-EINVAL));
    door::raw(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, kernel_mask_size);
    mask &= ~(1ul << (signal_or_mask - 1));
  }
  return static_cast<int>(door::with_errno(door::call(SYS_rt_sigsuspend, &mask, kernel_mask_size)));
}

}  // namespace

BIDE_DOOR_WITH(int, pause, (), (), (SYS_pause))
BIDE_DOOR_WITH(int, sigsuspend, (const sigset_t* mask), (mask), (SYS_rt_sigsuspend, mask, kernel_mask_size))
BIDE_DOOR_WITH(int, __sigsuspend, (const sigset_t* mask), (mask), (SYS_rt_sigsuspend, mask, kernel_mask_size))

extern "C" BIDE_API int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* limit) {
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(sigtimedwait)>(sigtimedwait_name)) return libc(set, info, limit);
  }
  return static_cast<int>(door::with_errno(wait_for(set, info, limit)));
}

extern "C" BIDE_API int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(sigwaitinfo)>(sigwaitinfo_name)) return libc(set, info);
  }
  return static_cast<int>(door::with_errno(wait_for(set, info, nullptr)));
}

// POSIX: returns the error, which is never EINTR.
extern "C" BIDE_API int sigwait(const sigset_t* set, int* number) {
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(sigwait)>(sigwait_name)) return libc(set, number);
  }
  long answer;
  while ((answer = door::call(SYS_rt_sigtimedwait, set, nullptr, nullptr, kernel_mask_size)) == -EINTR) errno = EINTR;
  if (answer < 0) return static_cast<int>(-answer);
  *number = static_cast<int>(answer);
  return 0;
}

// BSD's takes a mask, X/Open's a signal. The header gives sigpause one of several names, so ours is said in assembly.
extern "C" BIDE_API int bide_door_sigpause(int mask) __asm__("sigpause");
extern "C" BIDE_API int bide_door_sigpause(int mask) {
  const auto libc = door::real<int(int)>(sigpause_name);
  return door::on_fiber() || !libc ? pause_with(mask, false) : libc(mask);
}
extern "C" BIDE_API int bide_door_xpg_sigpause(int number) __asm__("__xpg_sigpause");
extern "C" BIDE_API int bide_door_xpg_sigpause(int number) {
  const auto libc = door::real<int(int)>(__xpg_sigpause_name);
  return door::on_fiber() || !libc ? pause_with(number, true) : libc(number);
}
extern "C" BIDE_API int bide_door_any_sigpause(int what, int is_signal) __asm__("__sigpause");
extern "C" BIDE_API int bide_door_any_sigpause(int what, int is_signal) {
  const auto libc = door::real<int(int, int)>(__sigpause_name);
  return door::on_fiber() || !libc ? pause_with(what, is_signal != 0) : libc(what, is_signal);
}

BIDE_DOOR_WITH(int, sched_yield, (), (), (SYS_sched_yield))
BIDE_DOOR_WITH(int, __sched_yield, (), (), (SYS_sched_yield))
// The header gives it the former's name.
extern "C" BIDE_API int bide_door_pthread_yield() __asm__("pthread_yield");
extern "C" BIDE_API int bide_door_pthread_yield() { return sched_yield(); }
extern "C" BIDE_API void thrd_yield() {
  if (door::on_fiber()) {
    door::call(SYS_sched_yield);
  } else if (const auto libc = door::real<decltype(thrd_yield)>(thrd_yield_name)) {
    libc();
  }
}
// C11: -1 says that a signal came, other negative numbers that it failed.
extern "C" BIDE_API int thrd_sleep(const timespec* length, timespec* rest) {
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(thrd_sleep)>(thrd_sleep_name)) return libc(length, rest);
  }
  const long answer = door::call(SYS_clock_nanosleep, CLOCK_REALTIME, 0, length, rest);
  return answer == 0 ? 0 : answer == -EINTR ? -1 : -2;
}

extern "C" BIDE_API int tcdrain(int fd) {
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(tcdrain)>(tcdrain_name)) return libc(fd);
  }
  return static_cast<int>(door::with_errno(door::call(SYS_ioctl, fd, TCSBRK, 1)));
}
// libc turns a length in milliseconds into tenths of a second.
extern "C" BIDE_API int tcsendbreak(int fd, int length) {
  if (!door::on_fiber()) {
    if (const auto libc = door::real<decltype(tcsendbreak)>(tcsendbreak_name)) return libc(fd, length);
  }
  if (length <= 0) return static_cast<int>(door::with_errno(door::call<true>(SYS_ioctl, fd, TCSBRK, 0)));
  return static_cast<int>(door::with_errno(door::call<true>(SYS_ioctl, fd, TCSBRKP, (length + 99) / 100)));
}
// Waited for first; then libc's own, which translates the settings, finds nothing to wait for.
extern "C" BIDE_API int tcsetattr(int fd, int when, const termios* how) {
  const auto libc = door::real<int(int, int, const termios*)>(tcsetattr_name);
  if (!libc) return static_cast<int>(door::with_errno(-ENOSYS));
  if (door::on_fiber() && when != TCSANOW) {
    const long drained = door::call<true>(SYS_ioctl, fd, TCSBRK, 1);
    if (drained < 0) return static_cast<int>(door::with_errno(drained));
  }
  return libc(fd, when, how);
}

// What the table does for a fiber it does here too. On other threads, that of what fibers must learn of: descriptors that
// change their owners, and who is woken at a word in memory.
namespace {

bool is_noted(long number) noexcept {
  switch (number) {
    case SYS_close: case SYS_close_range: case SYS_dup: case SYS_dup2: case SYS_dup3: case SYS_fcntl: case SYS_ioctl:
    case SYS_setsockopt: case SYS_shutdown: case SYS_socket: case SYS_socketpair: case SYS_pipe: case SYS_pipe2:
      return true;
    default: return false;
  }
}

bool wakes(long number, long operation) noexcept {
  constexpr long command = 0x7f, wait = 0, wait_bitset = 9, lock_pi = 6, wait_requeue_pi = 11, lock_pi2 = 13;
  if (number != SYS_futex) return false;
  const long what = operation & command;
  return what != wait && what != wait_bitset && what != lock_pi && what != wait_requeue_pi && what != lock_pi2;
}

}  // namespace

extern "C" BIDE_API long bide_door_syscall(long number, ...) __asm__("syscall");
// All six, as libc's own: how many there are is the kernel's to know. The last is on the caller's stack, or what is there instead.
extern "C" [[gnu::no_sanitize("address")]] BIDE_API long bide_door_syscall(long number, ...) {
  va_list rest;
  va_start(rest, number);
  long a[6];
  for (long& word : a) word = va_arg(rest, long);
  va_end(rest);
  if (door::on_fiber() || (bide_runtimes() && (is_noted(number) || wakes(number, a[1]))))
    return door::with_errno(door::call<true>(number, a[0], a[1], a[2], a[3], a[4], a[5]));
  if (const auto libc = door::real<long(long, ...)>(syscall_name)) return libc(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  return door::with_errno(door::raw(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}
