// SO_RCVTIMEO and SO_SNDTIMEO: what they bound, and what they do not.
#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

constexpr auto limit = 120ms;
constexpr auto no_limit = 0ms;

void on_sockets(const std::function<void(actor&, ends&)>& tell) {
  auto on = [&](const kind& k) {
    CAPTURE(k.name);
    compare([&](actor& me) {
      ends e = k.make();
      tell(me, e);
    });
  };
  for (const kind& k : stream_sockets) on(k);
  for (const kind& k : message_sockets) on(k);
}

std::string read_some(int from, std::size_t n) {
  std::string bytes(n, 0);
  const long got = read(from, bytes.data(), n);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return bytes;
}

// Takes `piece` bytes every `pause` until `n` have come or the peer ends.
std::string trickle(int from, std::size_t piece, milliseconds pause, std::size_t n) {
  std::string all;
  while (all.size() < n) {
    moment(pause);
    const std::string got = read_some(from, std::min(piece, n - all.size()));
    if (got.empty()) break;
    all += got;
  }
  return digest(all);
}

long send_all(int to, const std::string& bytes) { return send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL); }

}  // namespace

TEST_SUITE("differential/timeout") {
  TEST_CASE("SO_RCVTIMEO bounds every way to receive") {
    on_sockets([](actor& me, ends& e) {
      set_timeout(e.ours, SO_RCVTIMEO, limit);
      char room[8];
      iovec part{room, sizeof room};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      me.call_for(limit, "read", [&] { return read(e.ours, room, sizeof room); });
      me.call_for(limit, "readv", [&] { return readv(e.ours, &part, 1); });
      me.call_for(limit, "recv", [&] { return recv(e.ours, room, sizeof room, 0); });
      me.call_for(limit, "recv MSG_PEEK", [&] { return recv(e.ours, room, sizeof room, MSG_PEEK); });
      me.call_for(limit, "recvfrom", [&] { return recvfrom(e.ours, room, sizeof room, 0, nullptr, nullptr); });
      me.call_for(limit, "recvmsg", [&] { return recvmsg(e.ours, &message, 0); });
      me.call_for(no_limit, "recv MSG_DONTWAIT", [&] { return recv(e.ours, room, sizeof room, MSG_DONTWAIT); });
    });
  }

  TEST_CASE("SO_RCVTIMEO is no bound where data comes in time") {
    on_sockets([](actor& me, ends& e) {
      set_timeout(e.ours, SO_RCVTIMEO, 5000ms);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "hello", 5), "write");
      });
      char room[8];
      me.call_for(no_limit, "read", [&] { return read(e.ours, room, sizeof room); });
      me.join(peer);
    });
  }

  // Those that a library which counts milliseconds in 16 or 32 bits would cut to about 100 ms.
  TEST_CASE("a timeout of more than a minute, or a month, is not cut short") {
    for (const milliseconds length : {65'636ms, 4'294'967'396ms, 2'147'483'747ms, 9'000'000'000'000ms}) {
      CAPTURE(length.count());
      compare([&](actor& me) {
        ends e = stream_pair();
        set_timeout(e.ours, SO_RCVTIMEO, length);
        actor& peer = me.start("peer", [&](actor&) {
          moment(300ms);
          must(write(e.theirs, "hello", 5), "write");
        });
        char room[8];
        me.call_for(300ms, "recv", [&] { return recv(e.ours, room, sizeof room, 0); });
        me.join(peer);
      });
      compare([&](actor& me) {
        ends e = stream_pair();
        fill(e.theirs);
        set_timeout(e.theirs, SO_SNDTIMEO, length);
        actor& peer = me.start("peer", [&](actor&) {
          moment(300ms);
          empty(e.ours);
        });
        me.call_for(300ms, "send", [&] { return send(e.theirs, "x", 1, 0); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("a timeout of zero, and one never set, mean for ever") {
    for (const bool set : {false, true}) {
      CAPTURE(set);
      on_sockets([set](actor& me, ends& e) {
        if (set) {
          set_timeout(e.ours, SO_RCVTIMEO, 50ms);
          set_timeout(e.ours, SO_RCVTIMEO, 0ms);
        }
        actor& peer = me.start("peer", [&](actor&) {
          moment(250ms);
          must(write(e.theirs, "hello", 5), "write");
        });
        char room[8];
        me.call_for(250ms, "recv", [&] { return recv(e.ours, room, sizeof room, 0); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("a timeout of one microsecond is not for ever") {
    compare([](actor& me) {
      ends e = stream_pair();
      const timeval shortest{0, 1};
      must(setsockopt(e.ours, SOL_SOCKET, SO_RCVTIMEO, &shortest, sizeof shortest), "setsockopt");
      char room[8];
      me.call_for(no_limit, "recv", [&] { return recv(e.ours, room, sizeof room, 0); });
    });
  }

  TEST_CASE("SO_SNDTIMEO bounds every way to send to a full peer") {
    for (const kind& k : stream_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        fill(e.theirs);
        set_timeout(e.theirs, SO_SNDTIMEO, limit);
        char x = 'x';
        iovec part{&x, 1};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        me.call_for(limit, "write", [&] { return write(e.theirs, "x", 1); });
        me.call_for(limit, "writev", [&] { return writev(e.theirs, &part, 1); });
        me.call_for(limit, "send", [&] { return send(e.theirs, "x", 1, 0); });
        me.call_for(limit, "sendto", [&] { return sendto(e.theirs, "x", 1, 0, nullptr, 0); });
        me.call_for(limit, "sendmsg", [&] { return sendmsg(e.theirs, &message, 0); });
        me.call_for(no_limit, "send MSG_DONTWAIT", [&] { return send(e.theirs, "x", 1, MSG_DONTWAIT); });
      });
    }
    compare([](actor& me) {
      ends e = datagram_pair();
      fill(e.theirs);
      set_timeout(e.theirs, SO_SNDTIMEO, limit);
      me.call_for(limit, "send of a datagram", [&] { return send(e.theirs, "x", 1, 0); });
    });
  }

  TEST_CASE("a send that got some out before SO_SNDTIMEO returns how much") {
    compare([](actor& me) {
      ends e = stream_pair();
      set_timeout(e.theirs, SO_SNDTIMEO, limit);
      const std::string bytes = pattern(1'000'000);
      const long n = me.call_for(limit, "send", [&] { return send(e.theirs, bytes.data(), bytes.size(), 0); });
      me.note("the peer has", digest(read_all(e.ours, static_cast<std::size_t>(n))));
    });
    compare([](actor& me) {
      ends e = tcp_pair();
      set_timeout(e.theirs, SO_SNDTIMEO, limit);
      const std::string bytes = pattern(20'000'000);
      const long n = send(e.theirs, bytes.data(), bytes.size(), 0);
      me.note("some, not all", n > 0 && n < 20'000'000);
      me.note("the peer has as much", read_all(e.ours, static_cast<std::size_t>(n)) == bytes.substr(0, n));
    });
  }

  TEST_CASE("SO_SNDTIMEO counts from the call with TCP, from each piece that found room on a unix socket") {
    compare([](actor& me) {
      ends e = stream_pair();
      set_timeout(e.theirs, SO_SNDTIMEO, 300ms);
      actor& peer = me.start("peer", [&](actor& peer) { peer.note("it has", trickle(e.ours, 60'000, 50ms, 700'000)); });
      const std::string bytes = pattern(700'000);
      me.call("send", [&] { return send(e.theirs, bytes.data(), bytes.size(), 0); });
      e.theirs.close();
      me.join(peer);
    });
    compare([](actor& me) {
      ends e = tcp_pair();
      set_timeout(e.theirs, SO_SNDTIMEO, 300ms);
      actor& peer = me.start("peer", [&](actor&) { trickle(e.ours, 60'000, 20ms, 20'000'000); });
      const std::string bytes = pattern(20'000'000);
      me.note("all of it", send_all(e.theirs, bytes) == 20'000'000);
      e.theirs.close();
      me.join(peer);
    });
  }

  TEST_CASE("SO_RCVTIMEO counts from the call, however many pieces MSG_WAITALL collects") {
    for (const kind& k : stream_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        set_timeout(e.ours, SO_RCVTIMEO, 300ms);
        std::atomic<bool> over = false;
        actor& peer = me.start("peer", [&](actor&) {
          for (int i = 0; i < 20 && !over; ++i) {
            moment(100ms);
            send(e.theirs, "x", 1, MSG_NOSIGNAL);
          }
        });
        char room[20];
        long n = 0;
        me.call_for(300ms, "recv", [&] {
          n = recv(e.ours, room, sizeof room, MSG_WAITALL);
          return n > 0 && n < 6 ? 1 : n;  // some of it
        });
        over = true;
        me.join(peer);
      });
    }
  }

  TEST_CASE("neither timeout bounds poll, nor O_NONBLOCK") {
    compare([](actor& me) {
      ends e = stream_pair();
      set_timeout(e.ours, SO_RCVTIMEO, 50ms);
      pollfd wait{e.ours, POLLIN, 0};
      me.call_for(200ms, "poll", [&] { return poll(&wait, 1, 200); });
      set_nonblocking(e.ours);
      char room[8];
      me.call_for(no_limit, "recv", [&] { return recv(e.ours, room, sizeof room, 0); });
    });
  }
}
