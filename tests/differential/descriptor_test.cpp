#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "compare.hpp"
#include "differences.hpp"
#include "things.hpp"

using namespace differential;

namespace {

// Ways to take a number away from the file that somebody waits for.
struct way {
  std::string name;
  std::function<long(int number)> take;
};

std::vector<way> ways() {
  return {
      {"close", [](int number) { return close(number); }},
      {"dup2",
       [](int number) { return dup2(fd(open("/dev/null", O_RDONLY | O_CLOEXEC)), number) == number ? 0 : -1; }},
      {"dup3",
       [](int number) {
         return dup3(fd(open("/dev/null", O_RDONLY | O_CLOEXEC)), number, O_CLOEXEC) == number ? 0 : -1;
       }},
      {"close_range",
       [](int number) { return close_range(static_cast<unsigned>(number), static_cast<unsigned>(number), 0); }},
  };
}

}  // namespace

TEST_SUITE("differential/close") {
  TEST_CASE("a number taken away wakes who waits to read from it") {
    for (const way& how : ways()) {
      CAPTURE(how.name);
      compare(meant::close_wakes_reader, [&](actor& me) {
        ends e = pipe_pair();
        // Keeps the file alive, natively for the reader to end at all.
        const fd twin(must(dup(e.ours), "dup"));
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          peer.call(how.name, [&] { return how.take(e.ours); });
          moment(50ms);
          must(write(e.theirs, "hello", 5), "write");
        });
        char room[8];
        me.call("read", [&] { return read(e.ours, room, sizeof room); });
        me.join(peer);
        if (how.name == "close" || how.name == "close_range") e.ours.release();
      });
    }
  }

  TEST_CASE("a closed number wakes who waits to write to it") {
    compare(meant::close_wakes_writer, [&](actor& me) {
      ends e = stream_pair();
      fill(e.theirs);
      const fd twin(must(dup(e.theirs), "dup"));
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        e.theirs.close();
        moment(50ms);
        empty(e.ours);
      });
      const int number = e.theirs;
      me.call("write", [&] { return write(number, "x", 1); });
      me.join(peer);
    });
  }

  TEST_CASE("a closed listening socket wakes who waits in accept") {
    compare(meant::close_wakes_acceptor, [&](actor& me) {
      listener at = tcp_listener();
      const fd twin(must(dup(at.socket), "dup"));
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        at.socket.close();
        moment(50ms);
        const fd socket = tcp_socket();
        must(connect(socket, at.name(), sizeof at.address), "connect");
      });
      const int number = at.socket;
      fd got;
      me.call("accept", [&] {
        got = fd(accept(number, nullptr, nullptr));
        return got >= 0 ? 1 : -1;
      });
      me.join(peer);
    });
  }

  TEST_CASE("a closed number ends MSG_WAITALL with what has come") {
    compare(meant::close_wakes_receiver, [&](actor& me) {
      ends e = stream_pair();
      const fd twin(must(dup(e.ours), "dup"));
      must(send(e.theirs, "ab", 2, 0), "send");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        e.ours.close();
        moment(50ms);
        must(send(e.theirs, "cde", 3, 0), "send");
      });
      const int number = e.ours;
      char room[5];
      me.call("recv MSG_WAITALL", [&] { return recv(number, room, sizeof room, MSG_WAITALL); });
      me.join(peer);
    });
  }

  TEST_CASE("a closed number is POLLNVAL to who waits in poll") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const fd twin(must(dup(e.ours), "dup"));
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        e.ours.close();
        moment(50ms);
        must(write(e.theirs, "x", 1), "write");
      });
      pollfd wait{e.ours, POLLIN, 0};
      me.call("poll", [&] { return poll(&wait, 1, -1); });
      me.note("events", poll_bits(wait.revents));
      me.join(peer);
    });
  }

  TEST_CASE("the next owner of a number hears nothing of the last one") {
    compare([](actor& me) {
      for (int turn = 0; turn < 3; ++turn) {
        ends old = pipe_pair();
        const int number = old.ours;
        const fd twin(must(dup(number), "dup"));
        must(write(old.theirs, "stale", 5), "write");
        pollfd ready{number, POLLIN, 0};
        must(poll(&ready, 1, 1000), "poll");
        old.ours.close();
        ends fresh = pipe_pair();
        if (fresh.ours != number) fresh.ours = fd(must(dup3(fresh.ours, number, O_CLOEXEC), "dup3"));
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          must(write(old.theirs, "stale", 5), "write");
          moment(30ms);
          must(write(fresh.theirs, "new", 3), "write");
        });
        char room[8];
        const long n = me.call("read", [&] { return read(number, room, sizeof room); });
        me.note("bytes", first(room, n));
        me.join(peer);
      }
    });
  }

  TEST_CASE("close, dup2, dup3 and close_range answer as the kernel does") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const fd twin(must(dup(e.theirs), "dup"));
      const int number = e.ours.release();
      me.call("close", [&] { return close(number); });
      me.call("close again", [&] { return close(number); });
      me.call("close of -1", [&] { return close(-1); });
      me.call("close of a huge number", [&] { return close(2'000'000'000); });
      me.call("dup2 onto itself", [&] { return dup2(twin, twin) == twin ? 0 : -1; });
      me.call("dup2 of a closed one onto itself", [&] { return dup2(number, number); });
      me.call("dup2 of a closed one", [&] { return dup2(number, twin); });
      me.call("dup2 to a negative number", [&] { return dup2(twin, opaque(-1)); });
      me.call("dup2 beyond the limit", [&] { return dup2(twin, 2'000'000'000); });
      me.call("dup3 onto itself", [&] { return dup3(twin, twin, 0); });
      me.call("dup3 with unknown flags", [&] { return dup3(twin, number, 1); });
      me.call("dup3 O_CLOEXEC", [&] { return dup3(twin, number, O_CLOEXEC) == number ? 0 : -1; });
      me.note("its flags", fcntl(number, F_GETFD));
      me.call("dup2 over it", [&] { return dup2(twin, number) == number ? 0 : -1; });
      me.note("its flags", fcntl(number, F_GETFD));
      const auto n = static_cast<unsigned>(number);
      me.call("close_range, upside down", [&] { return close_range(n, n - 1, 0); });
      me.call("close_range, unknown flags", [&] { return close_range(n, n, 1 << 20); });
      me.call("close_range CLOEXEC", [&] { return close_range(n, n, CLOSE_RANGE_CLOEXEC); });
      me.note("its flags", fcntl(number, F_GETFD));
      me.call("close_range", [&] { return close_range(n, n, 0); });
      me.call("close_range of nothing", [&] { return close_range(n, n, 0); });
      me.call("it is closed", [&] { return fcntl(number, F_GETFD); });
    });
  }

  TEST_CASE("CLOSE_RANGE_CLOEXEC wakes nobody") {
    compare([](actor& me) {
      ends e = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        const auto n = static_cast<unsigned>(e.ours);
        peer.call("close_range", [&] { return close_range(n, n, CLOSE_RANGE_CLOEXEC); });
        moment(30ms);
        must(write(e.theirs, "hello", 5), "write");
      });
      char room[8];
      me.call("read", [&] { return read(e.ours, room, sizeof room); });
      me.join(peer);
    });
  }

  TEST_CASE("a program that closes everything can still wait") {
    compare([](actor& me) {
      me.call("close_range of all", [&] { return close_range(3, ~0u, 0); });
      char room[8];
      for (int i = 0; i < 3; ++i) {
        ends e = tcp_pair();
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          must(write(e.theirs, "hello", 5), "write");
        });
        me.call("read", [&] { return read(e.ours, room, sizeof room); });
        me.call_for(50ms, "usleep", [&] { return usleep(50'000); });
        me.join(peer);
      }
      for (int number = 3; number < 1000; ++number) close(number);
      ends e = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "hello", 5), "write");
      });
      me.call("read after closing one by one", [&] { return read(e.ours, room, sizeof room); });
      me.join(peer);
    });
  }

  TEST_CASE("a duplicate waits and is woken by itself") {
    compare([](actor& me) {
      ends e = tcp_pair();
      const fd twin(must(dup(e.ours), "dup"));
      actor& other = me.start("other", [&](actor& other) {
        char room[8];
        other.call("read of the duplicate", [&] { return read(twin, room, 5); });
      });
      me.until_waiting(other);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "hellohello", 10), "write");
      });
      char room[8];
      me.call("read", [&] { return read(e.ours, room, 5); });
      me.join(other);
      me.join(peer);
    });
  }
}

TEST_SUITE("differential/shutdown") {
  TEST_CASE("shutdown ends the waits of its direction") {
    for (const kind& k : stream_sockets) {
      CAPTURE(k.name);
      for (const int how : {SHUT_RD, SHUT_RDWR}) {
        CAPTURE(how);
        compare([&](actor& me) {
          ends e = k.make();
          actor& peer = me.start("peer", [&](actor& peer) {
            peer.until_waiting(me);
            peer.call("shutdown", [&] { return shutdown(e.ours, how); });
          });
          char room[8];
          me.call("read", [&] { return read(e.ours, room, sizeof room); });
          me.join(peer);
          send(e.theirs, "late", 4, MSG_NOSIGNAL);
          me.call("read again", [&] { return recv(e.ours, room, sizeof room, MSG_DONTWAIT); });
        });
      }
    }
  }

  TEST_CASE("shutdown ends the wait for a message") {
    for (const kind& k : message_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        actor& peer = me.start("peer", [&](actor& peer) {
          for (int i = 0; i < 2; ++i) {
            peer.until_waiting(me);
            peer.call("shutdown", [&] { return shutdown(e.ours, i == 0 ? SHUT_RD : SHUT_RDWR); });
          }
        });
        char room[8];
        me.call("recv", [&] { return recv(e.ours, room, sizeof room, 0); });
        me.call("read again", [&] { return read(e.ours, room, sizeof room); });
        pollfd wait{e.ours, POLLIN, 0};
        me.call("poll", [&] { return poll(&wait, 1, 5000); });
        me.note("events", poll_bits(wait.revents));
        me.join(peer);
      });
    }
  }

  TEST_CASE("a half-closed connection still goes the other way") {
    for (const kind& k : stream_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        const counting_handler pipe_signal(SIGPIPE, 0);
        ends e = k.make();
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          peer.call("shutdown", [&] { return shutdown(e.theirs, SHUT_WR); });
          char room[8];
          const long n = peer.call("read", [&] { return read(e.theirs, room, sizeof room); });
          peer.note("bytes", first(room, n));
          peer.call("write", [&] { return write(e.theirs, "x", 1); });
          peer.note("SIGPIPE", pipe_signal.count());
        });
        char room[8];
        me.call("read", [&] { return read(e.ours, room, sizeof room); });
        me.call("write", [&] { return write(e.ours, "answer", 6); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("a reset ends a read with ECONNRESET, once") {
    compare([](actor& me) {
      ends e = tcp_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        const linger now{1, 0};
        must(setsockopt(e.theirs, SOL_SOCKET, SO_LINGER, &now, sizeof now), "setsockopt");
        e.theirs.close();
      });
      char room[8];
      me.call("read", [&] { return read(e.ours, room, sizeof room); });
      me.call("read again", [&] { return read(e.ours, room, sizeof room); });
      me.call("send", [&] { return send(e.ours, "x", 1, MSG_NOSIGNAL); });
      me.join(peer);
    });
  }

  TEST_CASE("shutdown refuses what the kernel refuses") {
    compare([](actor& me) {
      ends e = stream_pair(), p = pipe_pair();
      const fd fresh = tcp_socket();
      me.call("an unknown direction", [&] { return shutdown(e.ours, 7); });
      me.call("a pipe", [&] { return shutdown(p.ours, SHUT_RD); });
      me.call("not connected", [&] { return shutdown(fresh, SHUT_RD); });
      me.call("no descriptor", [&] { return shutdown(-1, SHUT_RD); });
      me.call("shutdown", [&] { return shutdown(e.ours, SHUT_RDWR); });
      me.call("shutdown again", [&] { return shutdown(e.ours, SHUT_RDWR); });
    });
  }

  TEST_CASE("the largest number that the process may have is served as any other") {
    compare([](actor& me) {
      rlimit most{};
      must(getrlimit(RLIMIT_NOFILE, &most), "getrlimit");
      most.rlim_cur = std::min<rlim_t>(most.rlim_max, 1 << 20);
      must(setrlimit(RLIMIT_NOFILE, &most), "setrlimit");
      const int number = static_cast<int>(most.rlim_cur) - 1;
      ends e = stream_pair();
      fd high(must(dup2(e.ours, number), "dup2"));
      e.ours.close();
      actor& peer = me.start("peer", [&](actor& peer) {
        for (const char* word : {"hello", "again"}) {
          peer.until_waiting(me);
          must(write(e.theirs, word, 5), "write");
        }
        char room[8];
        peer.call("read", [&] { return read(e.theirs, room, sizeof room); });
      });
      char room[8];
      me.call("read", [&] { return read(high, room, sizeof room); });
      pollfd one{high, POLLIN, 0};
      me.call("poll", [&] { return poll(&one, 1, -1); });
      me.call("recv", [&] { return recv(high, room, sizeof room, MSG_DONTWAIT); });
      me.call("write", [&] { return write(high, "done", 4); });
      me.call("one more", [&] { return dup2(high, number + 1); });
      me.join(peer);
    });
  }
}
