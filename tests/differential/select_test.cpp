#include <doctest/doctest.h>
#include <sys/select.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

struct fd_sets {
  fd_set read, write, except;
  int most = -1;
  fd_sets() {
    FD_ZERO(&read);
    FD_ZERO(&write);
    FD_ZERO(&except);
  }
  void add(fd_set& to, int fd) {
    FD_SET(fd, &to);
    most = std::max(most, fd);
  }
  long wait(timeval* limit) { return select(most + 1, &read, &write, &except, limit); }
  long wait_p(const timespec* limit) { return pselect(most + 1, &read, &write, &except, limit, nullptr); }
  static int count(const fd_set& in) {
    int n = 0;
    for (int fd = 0; fd < FD_SETSIZE; ++fd) n += FD_ISSET(fd, &in) ? 1 : 0;
    return n;
  }
  std::string counts() const {
    return std::to_string(count(read)) + " to read, " + std::to_string(count(write)) + " to write, " +
           std::to_string(count(except)) + " exceptional";
  }
};

// Tells what is left of a limit to half a second: the exact value differs from run to run.
std::string roughly(const timeval& left) {
  const long halves = (left.tv_sec * 1000 + left.tv_usec / 1000 + 250) / 500;
  return std::to_string(halves) + " half seconds";
}

}  // namespace

TEST_SUITE("differential/select") {
  TEST_CASE("select waits until a descriptor is ready and leaves only that one set") {
    compare([](actor& me) {
      ends a = pipe_pair(), b = stream_pair();
      fd_sets sets;
      sets.add(sets.read, a.ours);
      sets.add(sets.read, b.ours);
      sets.add(sets.except, b.ours);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(b.theirs, "x", 1), "write");
      });
      me.call("select", [&] { return sets.wait(nullptr); });
      me.note("set", sets.counts());
      me.note("the right one", FD_ISSET(b.ours, &sets.read) != 0);
      me.join(peer);
    });
  }

  TEST_CASE("select with a timeout clears the sets and the timeout") {
    compare([](actor& me) {
      ends e = pipe_pair();
      fd_sets sets;
      sets.add(sets.read, e.ours);
      timeval limit{0, 150'000};
      me.call_for(150ms, "select", [&] { return sets.wait(&limit); });
      me.note("set", sets.counts());
      me.note("left", limit.tv_sec * 1'000'000 + limit.tv_usec);
      sets.add(sets.read, e.ours);
      timespec other{0, 150'000'000};
      me.call_for(150ms, "pselect", [&] { return sets.wait_p(&other); });
      me.note("set", sets.counts());
      me.note("left", other.tv_nsec);
      timeval zero{};
      sets.add(sets.read, e.ours);
      me.call_for(0ms, "select of 0", [&] { return sets.wait(&zero); });
      me.note("set", sets.counts());
    });
  }

  TEST_CASE("select that ends early says how much time was left") {
    compare([](actor& me) {
      ends e = pipe_pair();
      fd_sets sets;
      sets.add(sets.read, e.ours);
      timeval limit{70'000, 0};
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        moment(1000ms);
        must(write(e.theirs, "x", 1), "write");
      });
      me.call("select", [&] { return sets.wait(&limit); });
      me.note("left", roughly(limit));
      me.join(peer);
      timespec other{70'000, 0};
      me.call("pselect", [&] { return sets.wait_p(&other); });
      me.note("left", other.tv_sec);
    });
  }

  TEST_CASE("select without sets sleeps") {
    compare([](actor& me) {
      timeval limit{0, 150'000};
      me.call_for(150ms, "select", [&] { return select(0, nullptr, nullptr, nullptr, &limit); });
      me.note("left", limit.tv_sec * 1'000'000 + limit.tv_usec);
      fd_sets sets;
      limit = {0, 150'000};
      me.call_for(150ms, "select of empty sets",
                  [&] { return select(100, &sets.read, nullptr, &sets.except, &limit); });
      const timespec other{0, 150'000'000};
      me.call_for(150ms, "pselect", [&] { return pselect(0, nullptr, nullptr, nullptr, &other, nullptr); });
      limit = {0, 1'150'000};  // more microseconds than a second has: Linux takes them
      me.call_for(1150ms, "select of 1,150,000 us", [&] { return select(0, nullptr, nullptr, nullptr, &limit); });
    });
  }

  TEST_CASE("urgent data is exceptional, and a peer's end is readable") {
    compare([](actor& me) {
      ends e = tcp_pair();
      fd_sets sets;
      sets.add(sets.except, e.ours);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "!", 1, MSG_OOB), "send");
        peer.until_waiting(me);
        e.theirs.close();
      });
      me.call("select", [&] { return sets.wait(nullptr); });
      me.note("set", sets.counts());
      sets = {};
      sets.add(sets.read, e.ours);
      me.call("select", [&] { return sets.wait(nullptr); });
      me.note("set", sets.counts());
      me.join(peer);
    });
  }

  TEST_CASE("a descriptor in several sets counts in each") {
    compare([](actor& me) {
      ends e = stream_pair();
      must(write(e.theirs, "x", 1), "write");
      fd_sets sets;
      sets.add(sets.read, e.ours);
      sets.add(sets.write, e.ours);
      sets.add(sets.except, e.ours);
      me.call("select", [&] { return sets.wait(nullptr); });
      me.note("set", sets.counts());
    });
  }

  TEST_CASE("a pipe without readers is writable to select, and a file is always ready") {
    compare([](actor& me) {
      ends e = pipe_pair();
      fill(e.theirs);
      fd_sets sets;
      sets.add(sets.write, e.theirs);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        e.ours.close();
      });
      me.call("select", [&] { return sets.wait(nullptr); });
      me.note("set", sets.counts());
      me.join(peer);
      const fd file = regular_file("words");
      sets = {};
      sets.add(sets.read, file);
      sets.add(sets.write, file);
      sets.add(sets.except, file);
      me.call("select", [&] { return sets.wait(nullptr); });
      me.note("set", sets.counts());
    });
  }

  TEST_CASE("select refuses what the kernel refuses and leaves the sets alone") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const int gone = [] {
        ends other = pipe_pair();
        return static_cast<int>(other.ours);
      }();
      fd_sets sets;
      sets.add(sets.read, e.ours);
      sets.add(sets.read, gone);
      me.call("a closed descriptor", [&] { return sets.wait(nullptr); });
      me.note("set", sets.counts());
      fd_sets good;
      good.add(good.read, e.ours);
      me.call("a negative count", [&] { return select(opaque(-1), &good.read, nullptr, nullptr, nullptr); });
      timeval negative{-1, 0}, strange{0, -1};
      me.call("a negative limit", [&] { return good.wait(&negative); });
      me.call("negative microseconds", [&] { return good.wait(&strange); });
      const timespec bad{0, 1'000'000'000};
      me.call("pselect, nanoseconds out of range", [&] { return good.wait_p(&bad); });
      me.note("set", good.counts());
      me.call("a bad place for a set",
              [&] { return select(e.ours + 1, static_cast<fd_set*>(bad_address()), nullptr, nullptr, nullptr); });
    });
  }

  TEST_CASE("descriptors at and beyond the count are not looked at") {
    compare([](actor& me) {
      ends a = pipe_pair(), b = pipe_pair();
      must(write(b.theirs, "x", 1), "write");
      fd_sets sets;
      sets.add(sets.read, a.ours);
      sets.add(sets.read, b.ours);
      timeval limit{0, 60'000};
      me.call("select", [&] { return select(b.ours, &sets.read, nullptr, nullptr, &limit); });
      me.note("set", sets.counts());
      limit = {0, 60'000};
      // Natively a count beyond FD_SETSIZE is cut to what the process has open.
      std::vector<fd_set> wide(2);
      FD_SET(b.ours, &wide[0]);
      me.call("a huge count", [&] { return select(2 * FD_SETSIZE, &wide[0], nullptr, nullptr, &limit); });
    });
  }

  TEST_CASE("numbers beyond FD_SETSIZE are waited for in sets as large as they need") {
    compare([](actor& me) {
      ends a = pipe_pair();
      const int number = 3 * FD_SETSIZE - 1;
      const fd high(must(dup2(a.ours, number), "dup2"));
      std::vector<fd_set> wide(3);
      const auto bit = [&] { return reinterpret_cast<unsigned char*>(wide.data())[number / 8] >> number % 8 & 1; };
      const auto set_bit = [&] { reinterpret_cast<unsigned char*>(wide.data())[number / 8] |= 1u << number % 8; };
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(a.theirs, "x", 1), "write");
      });
      set_bit();
      me.call("select", [&] { return select(number + 1, wide.data(), nullptr, nullptr, nullptr); });
      me.note("set", bit());
      me.join(peer);
      read_all(a.ours, 1);
      set_bit();
      const timespec limit{0, 60'000'000};
      me.call("pselect", [&] { return pselect(number + 1, wide.data(), nullptr, nullptr, &limit, nullptr); });
      me.note("set", bit());
    });
  }
}
