#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

fd counter(unsigned first, int flags = 0) { return fd(must(eventfd(first, EFD_CLOEXEC | flags), "eventfd")); }

fd timer(milliseconds first, milliseconds every, int flags = 0) {
  fd made(must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | flags), "timerfd_create"));
  auto split = [](milliseconds length) { return timespec{length.count() / 1000, length.count() % 1000 * 1'000'000}; };
  const itimerspec when{split(every), split(first)};
  must(timerfd_settime(made, 0, &when, nullptr), "timerfd_settime");
  return made;
}

long take(int fd, std::uint64_t& value) { return read(fd, &value, sizeof value); }
long put(int fd, std::uint64_t value) { return write(fd, &value, sizeof value); }

void set_terminal(int fd, unsigned char least, unsigned char tenths) {
  termios how{};
  must(tcgetattr(fd, &how), "tcgetattr");
  cfmakeraw(&how);
  how.c_cc[VMIN] = least;
  how.c_cc[VTIME] = tenths;
  must(tcsetattr(fd, TCSANOW, &how), "tcsetattr");
}

}  // namespace

TEST_SUITE("differential/eventfd") {
  TEST_CASE("a read waits for a count and takes it whole") {
    compare([](actor& me) {
      const fd count = counter(0);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return put(count, 7); });
      });
      std::uint64_t value = 0;
      me.call("read", [&] { return take(count, value); });
      me.note("count", value);
      me.join(peer);
    });
  }

  TEST_CASE("a read of a semaphore waits for one and takes one") {
    compare([](actor& me) {
      const fd count = counter(1, EFD_SEMAPHORE);
      std::uint64_t value = 0;
      me.call("read", [&] { return take(count, value); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return put(count, 2); });
      });
      for (int i = 0; i < 2; ++i) {
        me.call("read", [&] { return take(count, value); });
        me.note("count", value);
      }
      me.join(peer);
    });
  }

  TEST_CASE("a write that would overflow waits for a read") {
    compare([](actor& me) {
      const fd count = counter(0);
      must(put(count, ~std::uint64_t{1}), "write");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        std::uint64_t value = 0;
        peer.call("read", [&] { return take(count, value); });
        peer.note("count", value);
      });
      me.call("write", [&] { return put(count, 5); });
      me.join(peer);
      std::uint64_t value = 0;
      me.call("read", [&] { return take(count, value); });
      me.note("count", value);
    });
  }

  TEST_CASE("what an eventfd refuses, it refuses without a wait") {
    compare([](actor& me) {
      const fd count = counter(0);
      char small[4];
      me.call("read into 4 bytes", [&] { return read(count, small, sizeof small); });
      me.call("write of 4 bytes", [&] { return write(count, small, sizeof small); });
      me.call("write of the reserved value", [&] { return put(count, ~std::uint64_t{0}); });
      set_nonblocking(count);
      std::uint64_t value = 0;
      me.call("read, O_NONBLOCK", [&] { return take(count, value); });
      must(put(count, ~std::uint64_t{1}), "write");
      me.call("write, O_NONBLOCK", [&] { return put(count, 1); });
    });
  }
}

TEST_SUITE("differential/timerfd") {
  TEST_CASE("a read waits for the expiry and counts it") {
    compare([](actor& me) {
      const fd once = timer(80ms, 0ms);
      std::uint64_t times = 0;
      me.call_for(80ms, "read", [&] { return take(once, times); });
      me.note("times", times);
    });
  }

  TEST_CASE("expiries that nobody read add up") {
    compare([](actor& me) {
      const fd ticking = timer(20ms, 3600'000ms);
      moment(60ms);
      std::uint64_t times = 0;
      me.call_for(0ms, "read", [&] { return take(ticking, times); });
      me.note("times", times);
    });
  }

  TEST_CASE("one that is not armed is never ready for an O_NONBLOCK read") {
    compare([](actor& me) {
      const fd idle = timer(0ms, 0ms, TFD_NONBLOCK);
      std::uint64_t times = 0;
      me.call("read", [&] { return take(idle, times); });
    });
  }
}

TEST_SUITE("differential/terminal") {
  TEST_CASE("a read waits for as many bytes as VMIN says") {
    compare([](actor& me) {
      ends e = pty_pair();
      set_terminal(e.ours, 5, 0);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "abc", 3), "write");
        moment(50ms);
        must(write(e.theirs, "def", 3), "write");
      });
      char room[16];
      me.call("read", [&] { return read(e.ours, room, sizeof room); });
      me.join(peer);
    });
  }

  TEST_CASE("a read with VMIN 0 and VTIME gives up after that time") {
    compare([](actor& me) {
      ends e = pty_pair();
      set_terminal(e.ours, 0, 2);
      char room[16];
      me.call_for(200ms, "read", [&] { return read(e.ours, room, sizeof room); });
    });
  }

  TEST_CASE("a read with VMIN 0 and VTIME 0 never waits") {
    compare([](actor& me) {
      ends e = pty_pair();
      set_terminal(e.ours, 0, 0);
      char room[16];
      me.call("read", [&] { return read(e.ours, room, sizeof room); });
    });
  }

  TEST_CASE("a line is read when it is complete, and no further") {
    compare([](actor& me) {
      ends e = pty_pair();
      termios how{};
      must(tcgetattr(e.ours, &how), "tcgetattr");
      how.c_lflag |= ICANON;
      how.c_iflag |= ICRNL;
      how.c_cc[VEOF] = 4;
      must(tcsetattr(e.ours, TCSANOW, &how), "tcsetattr");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "one li", 6), "write");
        moment(50ms);
        must(write(e.theirs, "ne\nnext\n\4", 9), "write");
      });
      char room[64];
      for (int i = 0; i < 3; ++i) {
        const long n = me.call("read", [&] { return read(e.ours, room, sizeof room); });
        me.note("bytes", digest(first(room, n)));
      }
      me.join(peer);
    });
  }
}
