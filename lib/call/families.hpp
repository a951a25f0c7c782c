// The calls of each family, as the table lists them.
#pragma once

namespace bide::call {

#define BIDE_CALL(name) long name(long, long, long, long, long, long)

// transfer.cpp
BIDE_CALL(read_call);
BIDE_CALL(readv_call);
BIDE_CALL(write_call);
BIDE_CALL(writev_call);
BIDE_CALL(recvfrom_call);
BIDE_CALL(sendto_call);

// message.cpp
BIDE_CALL(recvmsg_call);
BIDE_CALL(sendmsg_call);
BIDE_CALL(recvmmsg_call);
BIDE_CALL(sendmmsg_call);

// accept_connect.cpp
BIDE_CALL(accept_call);
BIDE_CALL(accept4_call);
BIDE_CALL(connect_call);

// readiness.cpp
BIDE_CALL(poll_call);
BIDE_CALL(ppoll_call);
BIDE_CALL(select_call);
BIDE_CALL(pselect6_call);
BIDE_CALL(epoll_wait_call);
BIDE_CALL(epoll_pwait_call);
BIDE_CALL(epoll_pwait2_call);

// time.cpp
BIDE_CALL(nanosleep_call);
BIDE_CALL(clock_nanosleep_call);

// descriptor.cpp
BIDE_CALL(close_call);
BIDE_CALL(close_range_call);
BIDE_CALL(dup_call);
BIDE_CALL(dup2_call);
BIDE_CALL(dup3_call);
BIDE_CALL(fcntl_call);
BIDE_CALL(ioctl_call);
BIDE_CALL(setsockopt_call);
BIDE_CALL(shutdown_call);
BIDE_CALL(socket_call);
BIDE_CALL(socketpair_call);
BIDE_CALL(pipe_call);
BIDE_CALL(pipe2_call);

#undef BIDE_CALL

}  // namespace bide::call
