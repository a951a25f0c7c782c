// Every call of the table with a descriptor that is not one.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <functional>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

struct one_call {
  std::string name;
  std::function<long(int)> make;
};

std::vector<one_call> calls() {
  static char room[8] = "room";
  static iovec part{room, 4};
  static sockaddr_in at{};
  at.sin_family = AF_INET;
  static auto* name = reinterpret_cast<sockaddr*>(&at);
  static auto message = [] {
    static mmsghdr one{};
    one.msg_hdr.msg_iov = &part;
    one.msg_hdr.msg_iovlen = 1;
    return &one;
  };
  return {
      {"read", [](int n) { return read(n, room, 4); }},
      {"readv", [](int n) { return readv(n, &part, 1); }},
      {"recv", [](int n) { return recv(n, room, 4, 0); }},
      {"recvfrom", [](int n) { return recvfrom(n, room, 4, 0, nullptr, nullptr); }},
      {"recvmsg", [](int n) { return recvmsg(n, &message()->msg_hdr, 0); }},
      {"recvmmsg", [](int n) { return recvmmsg(n, message(), 1, 0, nullptr); }},
      {"write", [](int n) { return write(n, room, 4); }},
      {"writev", [](int n) { return writev(n, &part, 1); }},
      {"send", [](int n) { return send(n, room, 4, 0); }},
      {"sendto", [](int n) { return sendto(n, room, 4, 0, name, sizeof at); }},
      {"sendmsg", [](int n) { return sendmsg(n, &message()->msg_hdr, 0); }},
      {"sendmmsg", [](int n) { return sendmmsg(n, message(), 1, 0); }},
      {"accept", [](int n) { return accept(n, nullptr, nullptr); }},
      {"accept4", [](int n) { return accept4(n, nullptr, nullptr, SOCK_CLOEXEC); }},
      {"connect", [](int n) { return connect(n, name, sizeof at); }},
      {"shutdown", [](int n) { return shutdown(n, SHUT_RD); }},
      {"epoll_wait", [](int n) { epoll_event got; return epoll_wait(n, &got, 1, 1000); }},
      {"epoll_pwait", [](int n) { epoll_event got; return epoll_pwait(n, &got, 1, 1000, nullptr); }},
      {"close", [](int n) { return close(n); }},
      {"dup2", [](int n) { return dup2(n, 500); }},
      {"dup3", [](int n) { return dup3(n, 500, 0); }},
      {"a read of nothing", [](int n) { return read(n, nullptr, 0); }},
      {"a write of nothing", [](int n) { return write(n, nullptr, 0); }},
      {"a send of nothing", [](int n) { return send(n, nullptr, 0, 0); }},
  };
}

}  // namespace

TEST_SUITE("differential/arguments") {
  TEST_CASE("every call answers EBADF for what is no descriptor, at once") {
    const int never[] = {-1, -2, -2'147'483'647 - 1, 900, 70'000, 1'048'577, 2'147'483'647};
    compare([&](actor& me) {
      for (const one_call& one : calls())
        for (const int n : never)
          if (n != 900 || one.name != "close") me.call(one.name + " of " + std::to_string(n), [&] { return one.make(n); });
    });
  }

  TEST_CASE("every call answers EBADF for a descriptor that was closed after use") {
    compare([](actor& me) {
      for (const one_call& one : calls()) {
        int number;
        {
          ends e = tcp_pair();
          number = e.ours;
          char room[8];
          set_timeout(e.ours, SO_RCVTIMEO, 10ms);
          if (read(e.ours, room, sizeof room) != -1) must(-1, "read");  // waited on, so known to the runtime
        }
        me.call(one.name, [&] { return one.make(number); });
      }
    });
  }

  TEST_CASE("a call on a descriptor of the wrong kind answers as the kernel does, at once") {
    const std::pair<std::string, std::function<fd()>> kinds[] = {
        {"pipe to read", [] { return std::move(pipe_pair().ours); }},
        {"regular file", [] { return regular_file("words"); }},
        {"epoll", [] { return fd(epoll_create1(EPOLL_CLOEXEC)); }},
        {"listening socket", [] { return std::move(tcp_listener().socket); }},
        {"fresh socket", [] { return tcp_socket(); }},
    };
    for (const auto& [name, make] : kinds) {
      CAPTURE(name);
      compare([&make = make](actor& me) {
        const counting_handler pipe_signal(SIGPIPE, 0);
        const timeval limit{0, 20'000};
        for (const one_call& one : calls()) {
          fd number = make();
          setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);  // an accept may wait
          if (one.name.starts_with("dup")) continue;
          me.call(one.name, [&] { return one.make(number); });
          if (one.name == "close") number.release();
        }
        me.note("SIGPIPE", pipe_signal.count());
      });
    }
  }

  TEST_CASE("the highest descriptor of the process waits as any other") {
    compare([](actor& me) {
      ends e = stream_pair();
      const long limit = sysconf(_SC_OPEN_MAX);
      const fd high(must(dup2(e.ours, static_cast<int>(limit - 1)), "dup2"));
      actor& peer = me.start("peer", [&](actor& peer) {
        for (int i = 0; i < 2; ++i) {
          peer.until_waiting(me);
          must(write(e.theirs, "hello", 5), "write");
        }
      });
      char room[8];
      me.call("read", [&] { return read(high, room, sizeof room); });
      pollfd wait{high, POLLIN, 0};
      me.call("poll", [&] { return poll(&wait, 1, -1); });
      me.join(peer);
    });
  }
}
