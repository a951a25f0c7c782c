#include "lib/call/table.hpp"

#include <sys/syscall.h>

#include <array>

#include "lib/call/families.hpp"

namespace bide::call {
namespace {

constexpr auto standard = [] {
  std::array<function, numbers> t{};
  t[SYS_read] = read_call;
  t[SYS_readv] = readv_call;
  t[SYS_write] = write_call;
  t[SYS_writev] = writev_call;
  t[SYS_recvfrom] = recvfrom_call;
  t[SYS_sendto] = sendto_call;
  t[SYS_recvmsg] = recvmsg_call;
  t[SYS_sendmsg] = sendmsg_call;
  t[SYS_recvmmsg] = recvmmsg_call;
  t[SYS_sendmmsg] = sendmmsg_call;
  t[SYS_accept] = accept_call;
  t[SYS_accept4] = accept4_call;
  t[SYS_connect] = connect_call;
  t[SYS_poll] = poll_call;
  t[SYS_ppoll] = ppoll_call;
  t[SYS_select] = select_call;
  t[SYS_pselect6] = pselect6_call;
  t[SYS_epoll_wait] = epoll_wait_call;
  t[SYS_epoll_pwait] = epoll_pwait_call;
  t[SYS_epoll_pwait2] = epoll_pwait2_call;
  t[SYS_nanosleep] = nanosleep_call;
  t[SYS_clock_nanosleep] = clock_nanosleep_call;
  t[SYS_close] = close_call;
  t[SYS_close_range] = close_range_call;
  t[SYS_dup] = dup_call;
  t[SYS_dup2] = dup2_call;
  t[SYS_dup3] = dup3_call;
  t[SYS_fcntl] = fcntl_call;
  t[SYS_ioctl] = ioctl_call;
  t[SYS_setsockopt] = setsockopt_call;
  t[SYS_shutdown] = shutdown_call;
  t[SYS_socket] = socket_call;
  t[SYS_socketpair] = socketpair_call;
  t[SYS_pipe] = pipe_call;
  t[SYS_pipe2] = pipe2_call;
  return t;
}();

constinit std::array<function, numbers> current = standard;

}  // namespace

function entry(long nr) noexcept { return nr >= 0 && nr < numbers ? current[nr] : nullptr; }

function replace(long nr, function f) noexcept {
  const function before = current[nr];
  current[nr] = f ? f : standard[nr];
  return before;
}

long next_entry(long nr) noexcept {
  while (++nr < numbers) {
    if (current[nr]) return nr;
  }
  return -1;
}

}  // namespace bide::call
