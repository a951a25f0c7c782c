// The other names under which glibc offers these calls: those that _FORTIFY_SOURCE makes a compiler use, and aliases.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <functional>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

extern "C" {
// Declared in bits/*2.h under _FORTIFY_SOURCE only, or not at all.
ssize_t __read_chk(int, void*, std::size_t, std::size_t);
ssize_t __recv_chk(int, void*, std::size_t, std::size_t, int);
ssize_t __recvfrom_chk(int, void*, std::size_t, std::size_t, int, sockaddr*, socklen_t*);
int __poll_chk(pollfd*, nfds_t, int, std::size_t);
int __ppoll_chk(pollfd*, nfds_t, const timespec*, const sigset_t*, std::size_t);
ssize_t __read(int, void*, std::size_t);
ssize_t __write(int, const void*, std::size_t);
ssize_t __send(int, const void*, std::size_t, int);
int __connect(int, const sockaddr*, socklen_t);
int __close(int);
int __dup2(int, int);
int __poll(pollfd*, nfds_t, int);
int __select(int, fd_set*, fd_set*, fd_set*, timeval*);
int __nanosleep(const timespec*, timespec*);
}

namespace {

struct spelling {
  std::string name;
  std::function<long(int, char*)> wait;  // until the peer writes
};

std::vector<spelling> readers() {
  return {
      {"__read", [](int n, char* room) { return __read(n, room, 8); }},
      {"__read_chk", [](int n, char* room) { return __read_chk(n, room, 8, 8); }},
      {"__recv_chk", [](int n, char* room) { return __recv_chk(n, room, 8, 8, 0); }},
      {"__recvfrom_chk", [](int n, char* room) { return __recvfrom_chk(n, room, 8, 8, 0, nullptr, nullptr); }},
      {"__poll", [](int n, char*) { pollfd p{n, POLLIN, 0}; return __poll(&p, 1, 5000); }},
      {"__poll_chk", [](int n, char*) { pollfd p{n, POLLIN, 0}; return __poll_chk(&p, 1, 5000, sizeof p); }},
      {"__ppoll_chk", [](int n, char*) { pollfd p{n, POLLIN, 0}; return __ppoll_chk(&p, 1, nullptr, nullptr, sizeof p); }},
      {"__select", [](int n, char*) {
         fd_set set;
         FD_ZERO(&set);
         FD_SET(n, &set);
         return __select(n + 1, &set, nullptr, nullptr, nullptr);
       }},
  };
}

}  // namespace

TEST_SUITE("differential/spellings") {
  TEST_CASE("each spelling that waits for a reader's bytes waits as its plain name does") {
    for (const spelling& one : readers()) {
      CAPTURE(one.name);
      compare([&](actor& me) {
        ends e = stream_pair();
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          must(__write(e.theirs, "hello", 5), "__write");
        });
        char room[8] = {};
        me.call(one.name, [&] { return one.wait(e.ours, room); });
        me.note("bytes", std::string_view(room));
        me.join(peer);
      });
    }
  }

  TEST_CASE("each spelling of a sender waits for room") {
    for (const bool plain : {true, false}) {
      CAPTURE(plain);
      compare([&](actor& me) {
        ends e = stream_pair();
        fill(e.theirs);
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          empty(e.ours);
        });
        if (plain)
          me.call("__write", [&] { return __write(e.theirs, "x", 1); });
        else
          me.call("__send", [&] { return __send(e.theirs, "x", 1, 0); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("__nanosleep, __connect, __dup2 and __close do as their plain names") {
    compare([](actor& me) {
      const timespec length{0, 100'000'000};
      std::atomic<int> turns = 0;
      std::atomic<bool> over = false;
      actor& other = me.start("other", [&](actor&) {
        for (; !over; ++turns) moment();
      });
      me.call_for(100ms, "__nanosleep", [&] { return __nanosleep(&length, nullptr); });
      over = true;
      me.join(other);
      me.note("others ran meanwhile", turns > 3);
      const listener at = tcp_listener();
      fd socket = tcp_socket();
      me.call("__connect", [&] { return __connect(socket, at.name(), sizeof at.address); });
      me.call("__dup2", [&] { return __dup2(socket, 400) == 400 ? 0 : -1; });
      me.call("__close", [&] { return __close(400); });
      me.call("__close again", [&] { return __close(400); });
    });
  }

  TEST_CASE("a checked spelling that would overflow its buffer ends the process") {
    compare([](actor& me) {
      ends e = stream_pair();
      must(write(e.theirs, "hello", 5), "write");
      fd silence(dup2(regular_file(""), STDERR_FILENO));  // glibc says so on stderr
      silence.release();
      char room[8];
      me.note("about to overflow");
      me.call("__read_chk", [&] { return __read_chk(e.ours, room, opaque(std::size_t{9}), 8); });
    });
    compare([](actor& me) {
      fd silence(dup2(regular_file(""), STDERR_FILENO));
      silence.release();
      pollfd one{-1, 0, 0};
      me.note("about to overflow");
      me.call("__poll_chk", [&] { return __poll_chk(&one, opaque(nfds_t{2}), 0, sizeof one); });
    });
  }
}
