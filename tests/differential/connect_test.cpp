#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

fd unix_socket(int flags = 0) { return fd(must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket")); }

int socket_error(int socket) {
  int error = 0;
  socklen_t length = sizeof error;
  must(getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length), "getsockopt");
  return error;
}

// The address of a TCP port at which nobody listens.
sockaddr_in nobody() { return tcp_listener().address; }

}  // namespace

TEST_SUITE("differential/connect") {
  TEST_CASE("connect to a listener succeeds before anybody accepts") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      const fd socket = tcp_socket();
      me.call("connect", [&] { return connect(socket, at.name(), sizeof at.address); });
      me.call("connect again", [&] { return connect(socket, at.name(), sizeof at.address); });
      fd got(must(accept(at.socket, nullptr, nullptr), "accept"));
      me.call("write", [&] { return write(socket, "hello", 5); });
      char room[8];
      me.call("the peer's read", [&] { return read(got, room, sizeof room); });
    });
  }

  TEST_CASE("connect to nobody is refused, and the socket may try again") {
    compare([](actor& me) {
      const sockaddr_in at = nobody();
      const auto* name = reinterpret_cast<const sockaddr*>(&at);
      const fd socket = tcp_socket();
      me.call("connect", [&] { return connect(socket, name, sizeof at); });
      me.note("SO_ERROR", socket_error(socket));
      me.call("connect again", [&] { return connect(socket, name, sizeof at); });
      const listener there = tcp_listener();
      me.call("connect to somebody", [&] { return connect(socket, there.name(), sizeof there.address); });
      const unix_name nowhere(7);
      const fd local = unix_socket();
      me.call("connect to no unix socket", [&] { return connect(local, nowhere.name(), nowhere.length); });
      sockaddr_un path{AF_UNIX, "/nonexistent/socket"};
      me.call("connect to no path",
              [&] { return connect(local, reinterpret_cast<sockaddr*>(&path), sizeof path); });
    });
  }

  TEST_CASE("connect of an O_NONBLOCK socket goes on by itself") {
    compare([](actor& me) {
      const full_listener full;
      const fd socket = tcp_socket(SOCK_NONBLOCK);
      const auto* name = full.at.name();
      me.call("connect", [&] { return connect(socket, name, sizeof full.at.address); });
      me.call("connect again", [&] { return connect(socket, name, sizeof full.at.address); });
      pollfd wait{socket, POLLOUT, 0};
      me.call_for(50ms, "poll", [&] { return poll(&wait, 1, 50); });
    });
    compare([](actor& me) {
      const listener at = tcp_listener();
      const fd socket = tcp_socket(SOCK_NONBLOCK);
      me.call("connect", [&] { return connect(socket, at.name(), sizeof at.address); });
      pollfd wait{socket, POLLOUT, 0};
      me.call("poll", [&] { return poll(&wait, 1, 1000); });
      me.note("events", poll_bits(wait.revents));
      me.note("SO_ERROR", socket_error(socket));
      me.call("connect once more", [&] { return connect(socket, at.name(), sizeof at.address); });
      me.call("and again", [&] { return connect(socket, at.name(), sizeof at.address); });
    });
    compare([](actor& me) {
      const sockaddr_in at = nobody();
      const auto* name = reinterpret_cast<const sockaddr*>(&at);
      const fd socket = tcp_socket(SOCK_NONBLOCK);
      me.call("connect to nobody", [&] { return connect(socket, name, sizeof at); });
      pollfd wait{socket, POLLOUT, 0};
      me.call("poll", [&] { return poll(&wait, 1, 1000); });
      me.note("events", poll_bits(wait.revents));
      me.note("SO_ERROR", socket_error(socket));
    });
  }

  TEST_CASE("connect waits for the kernel's next try at a full listener") {
    compare([](actor& me) {
      full_listener full;
      const fd socket = tcp_socket();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        for (int i = 0; i < 2; ++i) ::close(static_cast<int>(must(accept(full.at.socket, nullptr, nullptr), "accept")));
      });
      me.call("connect", [&] { return connect(socket, full.at.name(), sizeof full.at.address); });
      me.join(peer);
    });
  }

  TEST_CASE("SO_SNDTIMEO bounds connect, which then goes on by itself") {
    compare([](actor& me) {
      const full_listener full;
      const fd socket = tcp_socket();
      set_timeout(socket, SO_SNDTIMEO, 150ms);
      me.call_for(150ms, "connect", [&] { return connect(socket, full.at.name(), sizeof full.at.address); });
      me.call_for(150ms, "connect again", [&] { return connect(socket, full.at.name(), sizeof full.at.address); });
    });
  }

  TEST_CASE("a second connect waits for the end of the first") {
    compare([](actor& me) {
      full_listener full;
      const fd socket = tcp_socket();
      set_timeout(socket, SO_SNDTIMEO, 100ms);
      me.call_for(100ms, "connect", [&] { return connect(socket, full.at.name(), sizeof full.at.address); });
      set_timeout(socket, SO_SNDTIMEO, 0ms);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        for (int i = 0; i < 2; ++i) fd(must(accept(full.at.socket, nullptr, nullptr), "accept")).close();
      });
      me.call("connect again", [&] { return connect(socket, full.at.name(), sizeof full.at.address); });
      me.call("and again", [&] { return connect(socket, full.at.name(), sizeof full.at.address); });
      me.join(peer);
    });
  }

  TEST_CASE("connect to a unix listener with a full backlog waits for an accept") {
    compare([](actor& me) {
      const unix_name at(1);
      const fd door = unix_listener(at, 0);
      const fd first = unix_socket(), second = unix_socket();
      me.call("connect", [&] { return connect(first, at.name(), at.length); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        moment(50ms);
        fd got;
        peer.call("accept", [&] { return (got = fd(accept(door, nullptr, nullptr))) >= 0; });
      });
      me.call("connect beyond the backlog", [&] { return connect(second, at.name(), at.length); });
      me.join(peer);
    });
  }

  TEST_CASE("connect to a unix listener with a full backlog, O_NONBLOCK or bounded, is EAGAIN") {
    compare([](actor& me) {
      const unix_name at(1);
      const fd door = unix_listener(at, 0);
      const fd first = unix_socket(), hasty = unix_socket(SOCK_NONBLOCK), patient = unix_socket();
      must(connect(first, at.name(), at.length), "connect");
      me.call_for(0ms, "connect, O_NONBLOCK", [&] { return connect(hasty, at.name(), at.length); });
      set_timeout(patient, SO_SNDTIMEO, 120ms);
      me.call_for(120ms, "connect with SO_SNDTIMEO", [&] { return connect(patient, at.name(), at.length); });
    });
  }

  TEST_CASE("a connect that waits learns that the listener left") {
    compare([](actor& me) {
      const unix_name at(1);
      fd door = unix_listener(at, 0);
      const fd first = unix_socket(), second = unix_socket();
      must(connect(first, at.name(), at.length), "connect");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        door.close();
      });
      me.call("connect", [&] { return connect(second, at.name(), at.length); });
      me.join(peer);
    });
  }

  TEST_CASE("connect of a datagram socket sets its peer, and AF_UNSPEC unsets it") {
    compare([](actor& me) {
      ends e = udp_pair();
      sockaddr_in theirs{};
      socklen_t length = sizeof theirs;
      must(getsockname(e.theirs, reinterpret_cast<sockaddr*>(&theirs), &length), "getsockname");
      sockaddr nothing{};
      nothing.sa_family = AF_UNSPEC;
      me.call("connect to AF_UNSPEC", [&] { return connect(e.ours, &nothing, sizeof nothing); });
      me.call("send", [&] { return send(e.ours, "x", 1, 0); });
      me.call("connect", [&] { return connect(e.ours, reinterpret_cast<sockaddr*>(&theirs), sizeof theirs); });
      me.call("send", [&] { return send(e.ours, "x", 1, 0); });
    });
    compare([](actor& me) {
      const unix_name at(1), nowhere(2);
      const fd ours(must(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
      must(bind(ours, at.name(), at.length), "bind");
      const fd theirs(must(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
      me.call("connect", [&] { return connect(theirs, at.name(), at.length); });
      me.call("connect to nobody", [&] { return connect(theirs, nowhere.name(), nowhere.length); });
    });
  }

  TEST_CASE("connect refuses what the kernel refuses, without a wait") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      const fd socket = tcp_socket(), local = unix_socket();
      const unix_name there(1);
      const fd datagram(must(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
      must(bind(datagram, there.name(), there.length), "bind");
      me.call("a short address", [&] { return connect(socket, at.name(), 3); });
      me.call("an address too long", [&] { return connect(socket, at.name(), 4096); });
      me.call("no address", [&] { return connect(socket, nullptr, sizeof at.address); });
      me.call("a bad address", [&] { return connect(socket, static_cast<sockaddr*>(bad_address()), 16); });
      me.call("another family's address", [&] { return connect(socket, there.name(), there.length); });
      me.call("a socket of another type", [&] { return connect(local, there.name(), there.length); });
      me.call("a listening socket", [&] { return connect(at.socket, at.name(), sizeof at.address); });
      ends p = pipe_pair();
      me.call("a pipe", [&] { return connect(p.ours, at.name(), sizeof at.address); });
      sockaddr_in broadcast = at.address;
      broadcast.sin_addr.s_addr = htonl(INADDR_BROADCAST);
      me.call("a broadcast address",
              [&] { return connect(socket, reinterpret_cast<sockaddr*>(&broadcast), sizeof broadcast); });
    });
  }
}
