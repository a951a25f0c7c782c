#include <doctest/doctest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

void note_events(actor& me, const std::vector<pollfd>& list) {
  std::string all;
  for (const pollfd& one : list) all += poll_bits(one.revents) + " ";
  me.note("events", all);
}

long wait_for(actor& me, const char* what, std::vector<pollfd>& list, int timeout) {
  const long n = me.call(what, [&] { return poll(list.data(), list.size(), timeout); });
  note_events(me, list);
  return n;
}

}  // namespace

TEST_SUITE("differential/poll") {
  TEST_CASE("poll waits until one of its descriptors is ready") {
    for (const int timeout : {-1, -7, 5000, 65'636, 2'147'483'647}) {
      CAPTURE(timeout);
      compare([&](actor& me) {
        ends a = pipe_pair(), b = stream_pair();
        std::vector<pollfd> list{{a.ours, POLLIN, 99}, {b.ours, POLLIN | POLLPRI, 99}};
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          moment(120ms);
          must(write(b.theirs, "x", 1), "write");
        });
        wait_for(me, "poll", list, timeout);
        me.join(peer);
      });
    }
  }

  TEST_CASE("poll with a timeout waits that long for nothing") {
    compare([](actor& me) {
      ends e = pipe_pair();
      std::vector<pollfd> list{{e.ours, POLLIN, 99}};
      me.call_for(150ms, "poll", [&] { return poll(list.data(), 1, 150); });
      note_events(me, list);
      me.call_for(0ms, "poll of 0", [&] { return poll(list.data(), 1, 0); });
      me.call_for(150ms, "poll of no descriptors", [&] { return poll(nullptr, 0, 150); });
      me.call_for(0ms, "poll of no descriptors for 0", [&] { return poll(nullptr, 0, 0); });
      timespec limit{0, 150'000'000};
      me.call_for(150ms, "ppoll", [&] { return ppoll(list.data(), 1, &limit, nullptr); });
      me.note("the limit is left", limit.tv_nsec);
      timespec zero{};
      me.call_for(0ms, "ppoll of 0", [&] { return ppoll(list.data(), 1, &zero, nullptr); });
    });
  }

  TEST_CASE("negative descriptors are passed over, closed ones are POLLNVAL") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const int gone = [] {
        ends other = pipe_pair();
        return static_cast<int>(other.ours);
      }();
      std::vector<pollfd> list{{-1, POLLIN, 99}, {e.ours, POLLIN, 99}, {-300, POLLOUT, 99}};
      me.call_for(100ms, "poll", [&] { return poll(list.data(), list.size(), 100); });
      note_events(me, list);
      list.push_back({gone, POLLIN, 99});
      wait_for(me, "poll with a closed one", list, -1);
      list[3].events = 0;
      list.push_back({2'000'000'000, POLLIN, 99});
      wait_for(me, "poll with one that never was", list, -1);
    });
  }

  TEST_CASE("a descriptor in the list several times is answered each time") {
    compare([](actor& me) {
      ends e = stream_pair();
      std::vector<pollfd> list{{e.ours, POLLIN, 0}, {e.ours, POLLIN, 0}, {e.ours, 0, 0}, {e.ours, POLLRDHUP, 0}};
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "x", 1), "write");
      });
      wait_for(me, "poll", list, -1);
      me.join(peer);
      list[1].events = POLLOUT;
      wait_for(me, "poll for different things", list, -1);
    });
  }

  TEST_CASE("poll sees a shut-down and a closed peer as the kernel does") {
    for (const kind& k : byte_streams) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          e.theirs.close();
        });
        std::vector<pollfd> list{{e.ours, 0, 0}};
        if (k.name == "tcp") list[0].events = POLLIN;  // a half-closed TCP socket is no POLLHUP
        wait_for(me, "poll", list, 3000);
        me.join(peer);
        list[0].events = POLLIN | POLLRDHUP | POLLOUT;
        wait_for(me, "poll for all", list, 3000);
      });
    }
    for (const kind& k : stream_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          shutdown(e.theirs, SHUT_WR);
        });
        std::vector<pollfd> list{{e.ours, POLLRDHUP, 0}};
        wait_for(me, "poll for POLLRDHUP", list, 3000);
        me.join(peer);
      });
    }
  }

  TEST_CASE("poll of a writer waits for room, and sees that nobody reads") {
    for (const kind& k : {byte_streams[0], byte_streams[2], byte_streams[3]}) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        const std::size_t n = fill(e.theirs);
        std::vector<pollfd> list{{e.theirs, POLLOUT, 0}};
        me.call_for(60ms, "poll while full", [&] { return poll(list.data(), 1, 60); });
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          read_all(e.ours, n);
        });
        wait_for(me, "poll", list, 3000);
        me.join(peer);
      });
    }
    compare([](actor& me) {
      ends e = pipe_pair();
      fill(e.theirs);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        e.ours.close();
      });
      std::vector<pollfd> list{{e.theirs, 0, 0}};
      wait_for(me, "poll for nothing", list, 3000);
      me.join(peer);
    });
  }

  TEST_CASE("urgent data is POLLPRI, and wakes only who asks for it") {
    compare([](actor& me) {
      ends e = tcp_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "!", 1, MSG_OOB), "send");
      });
      std::vector<pollfd> list{{e.ours, POLLPRI, 0}};
      wait_for(me, "poll for POLLPRI", list, 3000);
      me.join(peer);
      list[0].events = POLLOUT;
      wait_for(me, "poll for POLLOUT", list, 3000);
    });
    compare([](actor& me) {
      ends e = tcp_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "plain", 5, 0), "send");
      });
      std::vector<pollfd> list{{e.ours, POLLPRI, 0}};
      me.call_for(150ms, "poll for POLLPRI", [&] { return poll(list.data(), 1, 150); });
      note_events(me, list);
      me.join(peer);
    });
  }

  TEST_CASE("what is always ready is ready at once") {
    compare([](actor& me) {
      const fd file = regular_file("words");
      ends e = pipe_pair();
      std::vector<pollfd> list{{file, POLLIN | POLLOUT | POLLPRI, 0}, {e.ours, POLLIN, 0}};
      wait_for(me, "poll of a file", list, -1);
    });
  }

  TEST_CASE("poll waits for listeners, timers, epolls and other readers' descriptors alike") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      const fd nest(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
      ends e = pipe_pair();
      epoll_event want{};
      want.events = EPOLLIN;
      must(epoll_ctl(nest, EPOLL_CTL_ADD, e.ours, &want), "epoll_ctl");
      const fd clock(must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create"));
      std::vector<pollfd> list{{at.socket, POLLIN, 0}, {nest, POLLIN, 0}, {clock, POLLIN, 0}};
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        const fd socket = tcp_socket();
        must(connect(socket, at.name(), sizeof at.address), "connect");
        peer.until_waiting(me);
        must(write(e.theirs, "x", 1), "write");
      });
      wait_for(me, "poll", list, 3000);
      fd(accept(at.socket, nullptr, nullptr)).close();
      wait_for(me, "poll again", list, 3000);
      me.join(peer);
      const itimerspec soon{{}, {0, 20'000'000}};
      must(timerfd_settime(clock, 0, &soon, nullptr), "timerfd_settime");
      list.erase(list.begin() + 1);
      wait_for(me, "poll for the timer", list, 3000);
    });
  }

  TEST_CASE("several who poll the same descriptor all learn of it") {
    compare([](actor& me) {
      ends e = pipe_pair();
      std::vector<actor*> all;
      for (int i = 0; i < 4; ++i)
        all.push_back(&me.start("poller", [&e](actor& poller) {
          std::vector<pollfd> list{{e.ours, POLLIN, 0}};
          wait_for(poller, "poll", list, -1);
        }));
      for (actor* poller : all) me.until_waiting(*poller);
      must(write(e.theirs, "x", 1), "write");
      for (actor* poller : all) me.join(*poller);
      me.note("all came back");
    });
  }

  TEST_CASE("poll of hundreds of descriptors finds the one that is ready") {
    compare([](actor& me) {
      std::vector<ends> all;
      std::vector<pollfd> list;
      for (int i = 0; i < 300; ++i) {
        all.push_back(pipe_pair());
        list.push_back({all.back().ours, POLLIN, 0});
      }
      actor& peer = me.start("peer", [&](actor& peer) {
        for (const std::size_t i : {0u, 299u, 150u}) {
          peer.until_waiting(me);
          must(write(all[i].theirs, "x", 1), "write");
        }
      });
      for (int i = 0; i < 3; ++i) {
        const long n = me.call("poll", [&] { return poll(list.data(), list.size(), 5000); });
        for (std::size_t j = 0; n > 0 && j < list.size(); ++j)
          if (list[j].revents) {
            me.note("ready", j);
            read_all(list[j].fd, 1);
          }
      }
      me.join(peer);
    });
  }

  TEST_CASE("poll refuses what the kernel refuses") {
    compare([](actor& me) {
      ends e = pipe_pair();
      rlimit most{};
      must(getrlimit(RLIMIT_NOFILE, &most), "getrlimit");
      most.rlim_cur = 200;
      must(setrlimit(RLIMIT_NOFILE, &most), "setrlimit");
      std::vector<pollfd> list(201, pollfd{-1, 0, 0});
      me.call("more than RLIMIT_NOFILE", [&] { return poll(list.data(), 201, 0); });
      me.call("as many", [&] { return poll(list.data(), 200, 0); });
      pollfd one{e.ours, POLLIN, 0};
      const timespec bad{0, 1'000'000'000}, negative{-1, 0};
      me.call("ppoll, nanoseconds out of range", [&] { return ppoll(&one, 1, &bad, nullptr); });
      me.call("ppoll, negative", [&] { return ppoll(&one, 1, &negative, nullptr); });
    });
  }
}
