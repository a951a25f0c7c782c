// Waiting for children: wait4(2), waitid(2).
//
// A pidfd tells of one child's end. Stops, and any of several children, have no descriptor: those waits stay with the
// kernel, on another kernel thread.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/fiber/park.hpp"

#ifndef P_PIDFD
#define P_PIDFD 3  // waitid(2), Linux 5.4
#endif

namespace bide::call {
namespace {

constexpr long nobody_yet = 0;

// Waits until one child may have ended. Returns 0 to ask again, -ENOSYS where the kernel can't tell, or what ends the
// call.
long until_ended(long pid, const char* name) noexcept {
  const long made = sys::raw(SYS_pidfd_open, pid, 0);
  if (made == -ESRCH) return 0;
  const int fd = made < 0 ? static_cast<int>(made) : io::adopt_own_fd(static_cast<int>(made));
  if (fd < 0) return -ENOSYS;
  const long end = await_ready(fd, readiness::readable, name);
  core::this_worker()->reactor->forget(fd);
  io::close_own_fd(fd);
  return end;
}

// What the kernel fills in of a siginfo, and nothing else of the caller's.
long give_info(long to, const siginfo_t& found) noexcept {
  if (!to) return 0;
  char* const at = reinterpret_cast<char*>(to);
  const auto* from = reinterpret_cast<const char*>(&found);
  constexpr std::size_t head = 3 * sizeof(int), body_at = offsetof(siginfo_t, si_pid), body = 3 * sizeof(int);
  if (const long error = copy_out(at, from, head)) return error;
  return copy_out(at + body_at, from + body_at, body);
}

}  // namespace

long wait4_call(long pid, long status, long options, long usage, long, long) {
  const auto who = static_cast<int>(pid);
  for (;;) {
    const long found = attempt(SYS_wait4, pid, status, options | WNOHANG, usage);
    if (found != nobody_yet || (options & WNOHANG)) return found;
    const bool told_of = who > 0 && !(options & (WUNTRACED | WCONTINUED));
    const long end = told_of ? until_ended(who, "wait") : -ENOSYS;
    if (end == -ENOSYS) return offloaded("wait", -1, restarts::yes, SYS_wait4, pid, status, options, usage);
    if (end) return end;
  }
}

long waitid_call(long which, long id, long info, long options, long usage, long) {
  if (options & WNOHANG) return attempt(SYS_waitid, which, id, info, options, usage);
  const bool told_of = !(options & (WSTOPPED | WCONTINUED)) && (which == P_PID || which == P_PIDFD);
  for (;;) {
    siginfo_t found;
    memset(&found, 0, sizeof found);
    const long answer = attempt(SYS_waitid, which, id, &found, options | WNOHANG, usage);
    if (answer) return answer;
    if (found.si_pid) return give_info(info, found);
    long end = -ENOSYS;
    if (told_of && which == P_PID) {
      end = until_ended(id, "waitid");
    } else if (told_of) {
      // waitid(2): with a pidfd that is O_NONBLOCK it doesn't wait.
      fd_call c(static_cast<int>(id), readiness::readable, "waitid");
      if (c.settings().nonblocking) return -EAGAIN;
      end = await_ready(c.fd(), readiness::readable, c.name());
    }
    if (end == -ENOSYS) return offloaded("waitid", -1, restarts::yes, SYS_waitid, which, id, info, options, usage);
    if (end) return end;
  }
}

}  // namespace bide::call
