// What other libraries of fibers got wrong, and no other suite has: tests/peers/README.md.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

int local_listener(sockaddr_in& where) {
  const int fd = static_cast<int>(must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  where = {};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof where;
  must(bind(fd, reinterpret_cast<sockaddr*>(&where), length), "bind");
  must(listen(fd, 8), "listen");
  must(getsockname(fd, reinterpret_cast<sockaddr*>(&where), &length), "getsockname");
  return fd;
}

}  // namespace

TEST_SUITE("differential/peers") {
  TEST_CASE("fcntl passes on every command, and refuses what the kernel refuses") {
    compare([](actor& me) {
      int ends[2];
      must(pipe(ends), "pipe");
      me.call("F_GETPIPE_SZ after F_SETPIPE_SZ", [&] { return fcntl(ends[0], F_SETPIPE_SZ, 8192), fcntl(ends[0], F_GETPIPE_SZ); });
      me.call("F_DUPFD", [&] { return fcntl(ends[0], F_DUPFD, 300); });
      me.call("F_DUPFD_CLOEXEC", [&] { return fcntl(ends[0], F_DUPFD_CLOEXEC, 310); });
      me.call("F_GETFD", [&] { return fcntl(310, F_GETFD); });
      const int file = memfd_create("sealed", MFD_ALLOW_SEALING);
      me.call("F_ADD_SEALS", [&] { return fcntl(file, F_ADD_SEALS, F_SEAL_GROW); });
      me.call("F_GET_SEALS", [&] { return fcntl(file, F_GET_SEALS); });
      struct flock whole {};
      whole.l_type = F_WRLCK;
      me.call("F_OFD_SETLK", [&] { return fcntl(file, F_OFD_SETLK, &whole); });
      me.call("no command", [&] { return fcntl(file, 12345); });
      me.call("no descriptor", [&] { return fcntl(-1, F_GETFL); });
      // What F_DUPFD made waits by the pipe it came from.
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return write(ends[1], "x", 1); });
      });
      char byte;
      me.call("read of the duplicate", [&] { return read(300, &byte, 1); });
      me.join(peer);
      for (const int fd : {300, 310, file, ends[0], ends[1]}) close(fd);
    });
  }

  TEST_CASE("a socket made SOCK_CLOEXEC or SOCK_NONBLOCK is connected as its flags say") {
    compare([](actor& me) {
      sockaddr_in where;
      const int server = local_listener(where);
      const auto* at = reinterpret_cast<sockaddr*>(&where);
      const int blocking = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      me.call("connect", [&] { return connect(blocking, at, sizeof where); });
      const int never_waits = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      char byte;
      me.call("connect that doesn't wait", [&] { return connect(never_waits, at, sizeof where); });
      pollfd done{never_waits, POLLOUT, 0};
      me.call("poll", [&] { return poll(&done, 1, 1000); });
      me.call("read", [&] { return read(never_waits, &byte, 1); });
      for (const int fd : {server, blocking, never_waits}) close(fd);
    });
  }

  TEST_CASE("a descriptor that a plain thread made waits on a fiber, and one that a fiber made waits on a plain thread") {
    compare([](actor& me) {
      sockaddr_in where;
      int server = -1;
      std::thread([&] { server = local_listener(where); }).join();
      const int client = socket(AF_INET, SOCK_STREAM, 0);
      std::thread other([&] {
        usleep(50'000);
        must(connect(client, reinterpret_cast<sockaddr*>(&where), sizeof where), "connect");
        char byte;
        must(read(client, &byte, 1), "read");
      });
      int peer = -1;
      me.call("accept", [&] { return (peer = accept(server, nullptr, nullptr)) >= 0; });
      usleep(50'000);
      me.call("write", [&] { return write(peer, "x", 1); });
      other.join();
      for (const int fd : {server, client, peer}) close(fd);
    });
  }
}
