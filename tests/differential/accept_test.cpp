#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

void hang_up_hard(fd& socket) {
  const linger now{1, 0};
  must(setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now), "setsockopt");
  socket.close();
}

}  // namespace

TEST_SUITE("differential/accept") {
  TEST_CASE("accept and accept4 wait for a connection and tell whose it is") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      actor& peer = me.start("peer", [&](actor& peer) {
        for (int i = 0; i < 3; ++i) {
          const fd socket = tcp_socket();
          peer.until_waiting(me);
          peer.call("connect", [&] { return connect(socket, at.name(), sizeof at.address); });
        }
      });
      sockaddr_storage who{};
      socklen_t length = sizeof who;
      auto* name = reinterpret_cast<sockaddr*>(&who);
      fd got[3];
      me.call("accept", [&] { return (got[0] = fd(accept(at.socket, name, &length))) >= 0; });
      me.note("family and length", std::to_string(who.ss_family) + " " + std::to_string(length));
      me.note("descriptor's flags", fcntl(got[0], F_GETFD));
      me.note("O_NONBLOCK", fcntl(got[0], F_GETFL) & O_NONBLOCK);
      me.call("accept4", [&] {
        return (got[1] = fd(accept4(at.socket, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK))) >= 0;
      });
      me.note("descriptor's flags", fcntl(got[1], F_GETFD));
      me.note("O_NONBLOCK", (fcntl(got[1], F_GETFL) & O_NONBLOCK) != 0);
      length = 4;
      memset(&who, 0x55, sizeof who);
      me.call("accept with little room", [&] { return (got[2] = fd(accept(at.socket, name, &length))) >= 0; });
      me.note("length", length);
      me.note("not written beyond", reinterpret_cast<char*>(&who)[4]);
      me.join(peer);
    });
  }

  TEST_CASE("accept on a unix socket waits for a connection") {
    for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
      CAPTURE(type);
      compare([&](actor& me) {
        const unix_name at(1);
        const fd door = unix_listener(at, 4, type);
        actor& peer = me.start("peer", [&](actor& peer) {
          const fd socket(must(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0), "socket"));
          peer.until_waiting(me);
          peer.call("connect", [&] { return connect(socket, at.name(), at.length); });
          peer.call("write", [&] { return write(socket, "hello", 5); });
        });
        sockaddr_un who{};
        socklen_t length = sizeof who;
        fd got;
        me.call("accept", [&] { return (got = fd(accept(door, reinterpret_cast<sockaddr*>(&who), &length))) >= 0; });
        me.note("length of an unnamed peer's address", length);
        char room[8];
        me.call("read", [&] { return read(got, room, sizeof room); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("accept on an O_NONBLOCK socket never waits, and what it accepts does") {
    compare([](actor& me) {
      const listener at = tcp_listener(4, SOCK_NONBLOCK);
      me.call("accept", [&] { return accept(at.socket, nullptr, nullptr); });
      me.call("accept4", [&] { return accept4(at.socket, nullptr, nullptr, SOCK_CLOEXEC); });
      const fd socket = tcp_socket();
      must(connect(socket, at.name(), sizeof at.address), "connect");
      fd got;
      me.call("accept", [&] { return (got = fd(accept(at.socket, nullptr, nullptr))) >= 0; });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(socket, "hello", 5), "write");
      });
      char room[8];
      me.call("read", [&] { return read(got, room, sizeof room); });
      me.join(peer);
    });
  }

  TEST_CASE("SO_RCVTIMEO bounds accept") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      set_timeout(at.socket, SO_RCVTIMEO, 120ms);
      me.call_for(120ms, "accept", [&] { return accept(at.socket, nullptr, nullptr); });
      me.call_for(120ms, "accept4", [&] { return accept4(at.socket, nullptr, nullptr, SOCK_CLOEXEC); });
    });
    compare([](actor& me) {
      const unix_name at(1);
      const fd door = unix_listener(at, 4);
      set_timeout(door, SO_RCVTIMEO, 120ms);
      me.call_for(120ms, "accept on a unix socket", [&] { return accept(door, nullptr, nullptr); });
    });
  }

  TEST_CASE("several who wait in accept share the connections") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      std::vector<actor*> all;
      for (int i = 0; i < 4; ++i)
        all.push_back(&me.start("acceptor", [&at](actor& acceptor) {
          fd got;
          acceptor.call("accept", [&] { return (got = fd(accept(at.socket, nullptr, nullptr))) >= 0; });
          char room[8];
          acceptor.call("read", [&] { return read(got, room, sizeof room); });
        }));
      for (actor* acceptor : all) me.until_waiting(*acceptor);
      for (int i = 0; i < 4; ++i) {
        const fd socket = tcp_socket();
        must(connect(socket, at.name(), sizeof at.address), "connect");
        must(write(socket, "hello", 5), "write");
      }
      for (actor* acceptor : all) me.join(*acceptor);
      me.note("all were served");
    });
  }

  TEST_CASE("shutdown of a listening socket ends an accept that waits") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("shutdown", [&] { return shutdown(at.socket, SHUT_RDWR); });
      });
      me.call("accept", [&] { return accept(at.socket, nullptr, nullptr); });
      me.call("accept again", [&] { return accept(at.socket, nullptr, nullptr); });
      me.join(peer);
    });
  }

  TEST_CASE("a connection that is gone before it is accepted is accepted all the same") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      fd socket = tcp_socket();
      must(connect(socket, at.name(), sizeof at.address), "connect");
      hang_up_hard(socket);
      moment(20ms);
      fd got;
      me.call("accept", [&] { return (got = fd(accept(at.socket, nullptr, nullptr))) >= 0; });
      char room[8];
      me.call("read", [&] { return read(got, room, sizeof room); });
      me.call("read again", [&] { return read(got, room, sizeof room); });
    });
  }

  TEST_CASE("accept refuses what the kernel refuses, without a wait") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      const fd fresh = tcp_socket();
      me.call("not listening", [&] { return accept(fresh, nullptr, nullptr); });
      ends u = udp_pair();
      me.call("a datagram socket", [&] { return accept(u.ours, nullptr, nullptr); });
      ends p = pipe_pair();
      me.call("a pipe", [&] { return accept(p.ours, nullptr, nullptr); });
      me.call("unknown flags", [&] { return accept4(at.socket, nullptr, nullptr, 1 << 30); });
      ends s = stream_pair();
      me.call("a connected socket", [&] { return accept(s.ours, nullptr, nullptr); });
    });
  }

  TEST_CASE("accept with a bad place for the address is EFAULT once somebody came") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      const fd socket = tcp_socket();
      must(connect(socket, at.name(), sizeof at.address), "connect");
      socklen_t length = sizeof(sockaddr_in);
      me.call("accept", [&] { return accept(at.socket, static_cast<sockaddr*>(bad_address()), &length); });
      char room;
      me.call("the peer's read", [&] { return read(socket, &room, 1); });
      set_nonblocking(at.socket);
      me.call("accept again", [&] { return accept(at.socket, nullptr, nullptr); });
    });
  }
}
