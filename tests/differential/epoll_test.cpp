#include <doctest/doctest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

fd make_epoll() { return fd(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")); }

void watch(int epoll, int what, unsigned events, unsigned tag, int how = EPOLL_CTL_ADD) {
  epoll_event want{};
  want.events = events;
  want.data.u32 = tag;
  must(epoll_ctl(epoll, how, what, &want), "epoll_ctl");
}

// Waits and notes the events with their tags.
long wait_for(actor& me, const char* what, int epoll, int timeout, int room = 8) {
  epoll_event got[8] = {};
  const long n = me.call(what, [&] { return epoll_wait(epoll, got, room, timeout); });
  for (long i = 0; i < n; ++i)
    me.note("event", std::to_string(got[i].data.u32) + " " + poll_bits(static_cast<short>(got[i].events)));
  return n;
}

}  // namespace

TEST_SUITE("differential/epoll") {
  TEST_CASE("epoll_wait waits for an event and brings its tag") {
    for (const int timeout : {-1, -9, 5000, 2'147'483'647}) {
      CAPTURE(timeout);
      compare([&](actor& me) {
        ends a = pipe_pair(), b = stream_pair();
        const fd set = make_epoll();
        watch(set, a.ours, EPOLLIN, 1);
        watch(set, b.ours, EPOLLIN | EPOLLRDHUP, 2);
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          must(write(b.theirs, "x", 1), "write");
          peer.until_waiting(me);
          a.theirs.close();
        });
        wait_for(me, "epoll_wait", set, timeout);
        read_all(b.ours, 1);
        wait_for(me, "epoll_wait", set, timeout);
        me.join(peer);
      });
    }
  }

  TEST_CASE("epoll_wait and epoll_pwait with a timeout wait that long") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const fd set = make_epoll();
      watch(set, e.ours, EPOLLIN, 1);
      epoll_event got[2];
      me.call_for(150ms, "epoll_wait", [&] { return epoll_wait(set, got, 2, 150); });
      me.call_for(0ms, "epoll_wait of 0", [&] { return epoll_wait(set, got, 2, 0); });
      me.call_for(150ms, "epoll_pwait", [&] { return epoll_pwait(set, got, 2, 150, nullptr); });
      me.call_for(0ms, "epoll_pwait of 0", [&] { return epoll_pwait(set, got, 2, 0, nullptr); });
      const fd empty_set = make_epoll();
      me.call_for(150ms, "epoll_wait for nothing", [&] { return epoll_wait(empty_set, got, 2, 150); });
    });
  }

  TEST_CASE("a level is told again, an edge once, a one-shot until it is armed again") {
    compare([](actor& me) {
      ends level = pipe_pair(), edge = pipe_pair(), once = pipe_pair();
      const fd set = make_epoll();
      watch(set, level.ours, EPOLLIN, 1);
      watch(set, edge.ours, EPOLLIN | EPOLLET, 2);
      watch(set, once.ours, EPOLLIN | EPOLLONESHOT, 3);
      for (const fd* end : {&level.theirs, &edge.theirs, &once.theirs}) must(write(*end, "ab", 2), "write");
      wait_for(me, "epoll_wait", set, 1000);
      wait_for(me, "epoll_wait again", set, 50);
      watch(set, once.ours, EPOLLIN | EPOLLONESHOT, 3, EPOLL_CTL_MOD);
      must(write(edge.theirs, "c", 1), "write");
      wait_for(me, "epoll_wait after an edge and an arming", set, 1000);
      read_all(level.ours, 2);
      wait_for(me, "epoll_wait for nothing", set, 50);
    });
  }

  TEST_CASE("an edge that comes while it is waited for is told") {
    compare([](actor& me) {
      ends e = stream_pair();
      const fd set = make_epoll();
      watch(set, e.ours, EPOLLIN | EPOLLOUT | EPOLLET, 1);
      wait_for(me, "epoll_wait", set, 1000);
      actor& peer = me.start("peer", [&](actor& peer) {
        for (int i = 0; i < 3; ++i) {
          peer.until_waiting(me);
          must(write(e.theirs, "x", 1), "write");
        }
      });
      for (int i = 0; i < 3; ++i) wait_for(me, "epoll_wait for the next edge", set, 5000);
      me.join(peer);
    });
  }

  TEST_CASE("a descriptor added while others wait wakes them if it is ready") {
    compare([](actor& me) {
      ends e = pipe_pair();
      must(write(e.theirs, "x", 1), "write");
      const fd set = make_epoll();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        watch(set, e.ours, EPOLLIN, 5);
      });
      wait_for(me, "epoll_wait", set, 5000);
      me.join(peer);
    });
  }

  TEST_CASE("a set within a set passes its events on") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const fd inner = make_epoll(), outer = make_epoll();
      watch(inner, e.ours, EPOLLIN, 1);
      watch(outer, inner, EPOLLIN, 2);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "x", 1), "write");
      });
      wait_for(me, "epoll_wait of the outer", outer, 5000);
      wait_for(me, "epoll_wait of the inner", inner, 5000);
      me.join(peer);
    });
  }

  TEST_CASE("of several who wait, an edge wakes one and the next edge another") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const fd set = make_epoll();
      watch(set, e.ours, EPOLLIN | EPOLLET, 1);
      std::vector<actor*> all;
      std::atomic<int> back = 0;
      for (int i = 0; i < 3; ++i)
        all.push_back(&me.start("waiter", [&](actor& waiter) {
          wait_for(waiter, "epoll_wait", set, 10'000);
          ++back;
        }));
      for (actor* waiter : all) me.until_waiting(*waiter);
      for (int i = 1; i <= 3; ++i) {
        must(write(e.theirs, "x", 1), "write");
        me.until([&] { return back >= i; });
        moment(30ms);
        me.note("came back", back.load());
      }
      for (actor* waiter : all) me.join(*waiter);
    });
  }

  TEST_CASE("events beyond the room are kept for the next call, each in turn") {
    compare([](actor& me) {
      ends a = pipe_pair(), b = pipe_pair(), c = pipe_pair();
      const fd set = make_epoll();
      unsigned tag = 0;
      for (const ends* e : {&a, &b, &c}) {
        watch(set, e->ours, EPOLLIN | EPOLLET, ++tag);
        must(write(e->theirs, "x", 1), "write");
      }
      wait_for(me, "epoll_wait with room for two", set, 1000, 2);
      wait_for(me, "epoll_wait with room for two", set, 1000, 2);
      wait_for(me, "epoll_wait with room for two", set, 30, 2);
    });
  }

  TEST_CASE("a descriptor that is closed leaves the set") {
    compare([](actor& me) {
      ends a = pipe_pair(), b = pipe_pair();
      const fd set = make_epoll();
      watch(set, a.ours, EPOLLIN, 1);
      watch(set, b.ours, EPOLLIN, 2);
      must(write(a.theirs, "x", 1), "write");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(b.theirs, "x", 1), "write");
      });
      a.ours.close();
      wait_for(me, "epoll_wait", set, 5000);
      me.join(peer);
    });
  }

  TEST_CASE("epoll_wait refuses what the kernel refuses") {
    compare([](actor& me) {
      const fd set = make_epoll();
      ends e = pipe_pair();
      epoll_event got[2];
      me.call("room for none", [&] { return epoll_wait(set, got, 0, 100); });
      me.call("room for fewer", [&] { return epoll_wait(set, got, opaque(-1), 100); });
      me.call("no descriptor", [&] { return epoll_wait(-1, got, 2, 100); });
      me.call("not an epoll", [&] { return epoll_wait(e.ours, got, 2, 100); });
      me.call("epoll_pwait, not an epoll", [&] { return epoll_pwait(e.ours, got, 2, 100, nullptr); });
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they touch the place themselves
      watch(set, e.ours, EPOLLIN, 1);
      must(write(e.theirs, "x", 1), "write");
      me.call("a bad place", [&] { return epoll_wait(set, static_cast<epoll_event*>(bad_address()), 2, 100); });
      wait_for(me, "epoll_wait after that", set, 100);
#endif
    });
  }
}
