// Sockets, in all their spellings.
#include <sys/socket.h>

#include "lib/door/door.hpp"

extern "C" [[noreturn]] void __chk_fail();

BIDE_DOOR_WITH(ssize_t, recv, (int fd, void* to, size_t size, int flags), (fd, to, size, flags),
               (SYS_recvfrom, fd, to, size, flags, nullptr, nullptr))
BIDE_DOOR(ssize_t, recvfrom, (int fd, void* to, size_t size, int flags, sockaddr* from, socklen_t* length),
          (fd, to, size, flags, from, length), SYS_recvfrom)
BIDE_DOOR(ssize_t, recvmsg, (int fd, msghdr* to, int flags), (fd, to, flags), SYS_recvmsg)
BIDE_DOOR(int, recvmmsg, (int fd, mmsghdr* to, unsigned count, int flags, timespec* timeout),
          (fd, to, count, flags, timeout), SYS_recvmmsg)

#define BIDE_SEND(n)                                                                                \
  BIDE_DOOR_WITH(ssize_t, n, (int fd, const void* from, size_t size, int flags), (fd, from, size, flags), \
                 (SYS_sendto, fd, from, size, flags, nullptr, 0))
BIDE_SEND(send)
BIDE_SEND(__send)
BIDE_DOOR(ssize_t, sendto, (int fd, const void* from, size_t size, int flags, const sockaddr* to, socklen_t length),
          (fd, from, size, flags, to, length), SYS_sendto)
BIDE_DOOR(ssize_t, sendmsg, (int fd, const msghdr* from, int flags), (fd, from, flags), SYS_sendmsg)
#define BIDE_SENDMMSG(n) \
  BIDE_DOOR(int, n, (int fd, mmsghdr* from, unsigned count, int flags), (fd, from, count, flags), SYS_sendmmsg)
BIDE_SENDMMSG(sendmmsg)
BIDE_SENDMMSG(__sendmmsg)

BIDE_DOOR(int, accept, (int fd, sockaddr* from, socklen_t* length), (fd, from, length), SYS_accept)
BIDE_DOOR(int, accept4, (int fd, sockaddr* from, socklen_t* length, int flags), (fd, from, length, flags), SYS_accept4)

#define BIDE_CONNECT(n) BIDE_DOOR(int, n, (int fd, const sockaddr* to, socklen_t length), (fd, to, length), SYS_connect)
BIDE_CONNECT(connect)
BIDE_CONNECT(__connect)

// These don't wait; they are doors because of what they say of a descriptor.
BIDE_NOTED_DOOR(int, socket, (int family, int type, int protocol), (family, type, protocol), SYS_socket)
BIDE_NOTED_DOOR(int, socketpair, (int family, int type, int protocol, int* fds), (family, type, protocol, fds), SYS_socketpair)
BIDE_NOTED_DOOR(int, setsockopt, (int fd, int level, int option, const void* value, socklen_t length),
          (fd, level, option, value, length), SYS_setsockopt)
BIDE_NOTED_DOOR(int, shutdown, (int fd, int how), (fd, how), SYS_shutdown)

extern "C" BIDE_API ssize_t __recv_chk(int fd, void* to, size_t size, size_t room, int flags) {
  if (size > room) __chk_fail();
  return recv(fd, to, size, flags);
}
extern "C" BIDE_API ssize_t __recvfrom_chk(int fd, void* to, size_t size, size_t room, int flags, sockaddr* from,
                                           socklen_t* length) {
  if (size > room) __chk_fail();
  return recvfrom(fd, to, size, flags, from, length);
}
