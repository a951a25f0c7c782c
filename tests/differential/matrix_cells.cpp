#include "matrix_cells.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include "matrix_conditions.hpp"

namespace differential {

namespace {

// A call that transfers; `flags` only where it takes them.
struct transfer {
  std::string name;
  bool sockets_only;
  long (*go)(int fd, char* room, std::size_t size, int flags);
};

long by_message(long (*go)(int, msghdr&, int), int fd, char* room, std::size_t size, int flags) {
  iovec part{room, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  return go(fd, message, flags);
}
long by_messages(int (*go)(int, mmsghdr*, int), int fd, char* room, std::size_t size, int flags) {
  iovec part{room, size};
  mmsghdr message{};
  message.msg_hdr.msg_iov = &part;
  message.msg_hdr.msg_iovlen = 1;
  const long n = go(fd, &message, flags);
  return n == 1 ? static_cast<long>(message.msg_len) : n;
}

const transfer readers[] = {
    {"read", false, [](int fd, char* room, std::size_t size, int) -> long { return read(fd, room, size); }},
    {"readv", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return readv(fd, &part, 1);
     }},
    {"preadv2", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return preadv2(fd, &part, 1, -1, 0);
     }},
    {"recv", true, [](int fd, char* room, std::size_t size, int flags) -> long { return recv(fd, room, size, flags); }},
    {"recvfrom", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       sockaddr_storage from;
       socklen_t length = sizeof from;
       return recvfrom(fd, room, size, flags, reinterpret_cast<sockaddr*>(&from), &length);
     }},
    {"recvmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_message([](int f, msghdr& m, int g) -> long { return recvmsg(f, &m, g); }, fd, room, size, flags);
     }},
    {"recvmmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_messages([](int f, mmsghdr* m, int g) { return recvmmsg(f, m, 1, g, nullptr); }, fd, room, size, flags);
     }},
};

const transfer writers[] = {
    {"write", false, [](int fd, char* room, std::size_t size, int) -> long { return write(fd, room, size); }},
    {"writev", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return writev(fd, &part, 1);
     }},
    {"pwritev2", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return pwritev2(fd, &part, 1, -1, 0);
     }},
    {"send", true, [](int fd, char* room, std::size_t size, int flags) -> long { return send(fd, room, size, flags); }},
    {"sendto", true,
     [](int fd, char* room, std::size_t size, int flags) -> long { return sendto(fd, room, size, flags, nullptr, 0); }},
    {"sendmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_message([](int f, msghdr& m, int g) -> long { return sendmsg(f, &m, g); }, fd, room, size, flags);
     }},
    {"sendmmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_messages([](int f, mmsghdr* m, int g) { return sendmmsg(f, m, 1, g); }, fd, room, size, flags);
     }},
};

// close(2) of what is waited for ends the wait: nothing was transferred, and what is there stays there.
std::vector<meant_line> meant_to_differ(const condition& c, bool writes) {
  if (c.name != "closed by another") return {};
  const std::string taken = "first: taken = ";
  if (writes) return {{"first: call -> 8", "first: call -> -1 EBADF"}, {taken + digest(pattern(8)), taken + digest("")}};
  return {{"first: call -> 5", "first: call -> -1 EBADF"}, {"first: bytes = hello", "first: bytes = "}};
}

void add_transfers(std::vector<cell>& to, const transfer* calls, std::size_t count, const std::vector<condition>& conditions,
                   bool writes) {
  for (std::size_t i = 0; i < count; ++i) {
    for (const condition& c : conditions) {
      for (const descriptor& d : descriptors()) {
        const transfer& call = calls[i];
        if ((call.sockets_only && !d.is(socket_kind)) || !d.is(c.needs) || (d.traits & c.lacks) || (c.takes_flags && !call.sockets_only)) continue;
        if (d.is(only_ready) || (writes && d.is(tells))) continue;
        to.push_back({call.name, c.name, d.name, [=, &d](actor& me) {
          const std::size_t size = c.size * d.unit / 8;
          std::string room(std::max(size, d.unit), 0);
          if (writes) room = d.is(counts) ? std::string("\5\4\3\2\1\0\0\0", 8) : pattern(room.size());
          long n = -1;
          tell(me, d, c, writes, [&](int fd) { return n = call.go(fd, c.room ? c.room : room.data(), size, c.flags); });
          if (!writes) me.note("bytes", first(room.data(), std::min(n, 64L)).substr(0, d.same));
        }, meant_to_differ(c, writes)});
      }
    }
  }
}


}  // namespace

std::vector<cell> matrix_cells() {
  std::vector<cell> all;
  add_transfers(all, readers, std::size(readers), reading(), false);
  add_transfers(all, writers, std::size(writers), writing(), true);
  add_readiness(all);
  add_waits(all);
  add_moves(all);
  add_awaits(all);
  return all;
}

}  // namespace differential
