#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

void on_streams(void (*tell)(actor&, ends&)) {
  for (const kind& k : stream_sockets) {
    CAPTURE(k.name);
    compare([&](actor& me) {
      ends e = k.make();
      tell(me, e);
    });
  }
}

long send_parts(int fd, std::vector<iovec> parts, int flags) {
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return sendmsg(fd, &message, flags);
}

actor& start_drain(actor& me, const fd& from, std::size_t n) {
  return me.start("drain", [&me, &from, n](actor& drain) {
    drain.until_waiting(me);
    drain.note("it has", digest(read_all(from, n)));
  });
}

}  // namespace

TEST_SUITE("differential/send") {
  TEST_CASE("send, sendto and sendmsg return when everything is sent") {
    on_streams([](actor& me, ends& e) {
      shrink(e.ours);
      shrink(e.theirs);
      std::string bytes = pattern(8'000'000);  // more than TCP takes in without a reader
      for (int i = 0; i < 3; ++i) {
        actor& drain = start_drain(me, e.ours, bytes.size());
        if (i == 0) me.call("send", [&] { return send(e.theirs, bytes.data(), bytes.size(), 0); });
        if (i == 1) me.call("sendto", [&] { return sendto(e.theirs, bytes.data(), bytes.size(), 0, nullptr, 0); });
        if (i == 2)
          me.call("sendmsg", [&] {
            return send_parts(e.theirs, {{bytes.data(), 3'333'333}, {}, {bytes.data() + 3'333'333, 4'666'667}}, 0);
          });
        me.join(drain);
      }
    });
  }

  TEST_CASE("MSG_DONTWAIT and O_NONBLOCK send what fits") {
    compare([](actor& me) {
      ends e = stream_pair();
      std::string bytes = pattern(2'000'000);
      const long n = me.call("send", [&] { return send(e.theirs, bytes.data(), bytes.size(), MSG_DONTWAIT); });
      me.note("is less than everything", n > 0 && n < 2'000'000);
      me.call("send again", [&] { return send(e.theirs, bytes.data(), 1, MSG_DONTWAIT); });
      me.call("sendto", [&] { return sendto(e.theirs, bytes.data(), 1, MSG_DONTWAIT, nullptr, 0); });
      me.call("sendmsg", [&] { return send_parts(e.theirs, {{bytes.data(), 1}}, MSG_DONTWAIT); });
      me.note("the peer has", digest(read_all(e.ours, static_cast<std::size_t>(n))));
      set_nonblocking(e.theirs);
      me.call("send, O_NONBLOCK", [&] { return send(e.theirs, bytes.data(), bytes.size(), 0); });
      me.call("send again, O_NONBLOCK", [&] { return send(e.theirs, bytes.data(), 1, 0); });
    });
    compare([](actor& me) {
      ends e = tcp_pair();
      fill(e.theirs);
      me.call("send", [&] { return send(e.theirs, "x", 1, MSG_DONTWAIT); });
    });
  }

  TEST_CASE("a peer that is gone is EPIPE, with a signal unless MSG_NOSIGNAL") {
    on_streams([](actor& me, ends& e) {
      const counting_handler pipe_signal(SIGPIPE, 0);
      e.ours.close();
      // The first send after the close of a TCP peer still succeeds: only the answer to it is a reset.
      send(e.theirs, "x", 1, MSG_NOSIGNAL);
      moment(20ms);
      char room;
      recv(e.theirs, &room, 1, MSG_DONTWAIT);
      me.call("send MSG_NOSIGNAL", [&] { return send(e.theirs, "x", 1, MSG_NOSIGNAL); });
      me.note("SIGPIPE", pipe_signal.count());
      me.call("send", [&] { return send(e.theirs, "x", 1, 0); });
      me.note("SIGPIPE", pipe_signal.count());
      char x = 'x';
      me.call("sendmsg", [&] { return send_parts(e.theirs, {{&x, 1}}, 0); });
      me.note("SIGPIPE", pipe_signal.count());
    });
  }

  TEST_CASE("SIGPIPE ends a process that does not handle it") {
    compare([](actor& me) {
      std::signal(SIGPIPE, SIG_DFL);
      ends e = stream_pair();
      e.ours.close();
      me.note("about to send");
      me.call("send", [&] { return send(e.theirs, "x", 1, 0); });
    });
  }

  TEST_CASE("a sender who waits learns that the peer left") {
    on_streams([](actor& me, ends& e) {
      const counting_handler pipe_signal(SIGPIPE, 0);
      fill(e.theirs);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        e.ours.close();  // with bytes unread: a reset
      });
      me.call("send", [&] { return send(e.theirs, "x", 1, 0); });
      me.note("SIGPIPE", pipe_signal.count());
      me.join(peer);
    });
  }

  TEST_CASE("a sender who waits learns that its own side was shut down") {
    on_streams([](actor& me, ends& e) {
      const counting_handler pipe_signal(SIGPIPE, 0);
      fill(e.theirs);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("shutdown", [&] { return shutdown(e.theirs, SHUT_WR); });
      });
      me.call("send", [&] { return send(e.theirs, "x", 1, MSG_NOSIGNAL); });
      me.join(peer);
      me.note("SIGPIPE", pipe_signal.count());
    });
  }

  TEST_CASE("a datagram waits for room at the peer, connected or not") {
    compare([](actor& me) {
      ends e = datagram_pair();
      fill(e.theirs);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        empty(e.ours);
      });
      me.call("send to a connected peer", [&] { return send(e.theirs, "last", 4, 0); });
      me.join(peer);
    });
    compare([](actor& me) {
      const unix_name at(1);
      const fd ours(must(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
      must(bind(ours, at.name(), at.length), "bind");
      const fd theirs(must(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
      auto put = [&](const char* word, int flags) {
        return sendto(theirs, word, strlen(word), flags, at.name(), at.length);
      };
      while (put("full", MSG_DONTWAIT) > 0) {
      }
      me.call("sendto MSG_DONTWAIT", [&] { return put("x", MSG_DONTWAIT); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        char room[8];
        const long n = peer.call("recv", [&] { return recv(ours, room, sizeof room, 0); });
        peer.note("bytes", first(room, n));
      });
      me.call("sendto a peer that is not connected", [&] { return put("last", 0); });
      me.join(peer);
    });
  }

  TEST_CASE("a datagram that cannot go out says why") {
    compare([](actor& me) {
      ends e = udp_pair();
      const std::string big(70'000, 'x');
      me.call("send of too much", [&] { return send(e.theirs, big.data(), big.size(), 0); });
      e.ours.close();
      me.call("send to nobody", [&] { return send(e.theirs, "x", 1, 0); });
      moment(20ms);
      me.call("send after the refusal", [&] { return send(e.theirs, "x", 1, 0); });
      me.call("send again", [&] { return send(e.theirs, "x", 1, 0); });
      moment(20ms);
      char room[8];
      me.call("recv after the refusal", [&] { return recv(e.theirs, room, sizeof room, 0); });
      const fd fresh(must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
      me.call("send without an address", [&] { return send(fresh, "x", 1, 0); });
      const listener at = tcp_listener();
      me.call("sendto with a short address", [&] { return sendto(fresh, "x", 1, 0, at.name(), 3); });
    });
  }

  TEST_CASE("a reader who waits learns that a datagram was refused") {
    compare([](actor& me) {
      ends e = udp_pair();
      e.ours.close();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("send to nobody", [&] { return send(e.theirs, "x", 1, 0); });
      });
      char room[8];
      me.call("recv", [&] { return recv(e.theirs, room, sizeof room, 0); });
      me.join(peer);
    });
  }

  TEST_CASE("a seqpacket longer than the buffer is refused without a wait") {
    compare([](actor& me) {
      ends e = seqpacket_pair();
      shrink(e.theirs);
      const std::string big(100'000, 'x');
      me.call("send", [&] { return send(e.theirs, big.data(), big.size(), 0); });
    });
  }

  TEST_CASE("arguments that make no sense are refused as the kernel refuses them") {
    on_streams([](actor& me, ends& e) {
      const counting_handler pipe_signal(SIGPIPE, 0);
      const listener at = tcp_listener();
      me.call("sendto an address though connected",
              [&] { return sendto(e.theirs, "x", 1, 0, at.name(), sizeof at.address); });
      me.call("send from nowhere", [&] { return send(e.theirs, bad_address(), 4, 0); });
      msghdr message{};
      message.msg_iovlen = 2000;
      me.call("sendmsg of too many parts", [&] { return sendmsg(e.theirs, &message, 0); });
      me.call("send of nothing", [&] { return send(e.theirs, nullptr, 0, 0); });
      const fd fresh(must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
      me.call("send, not connected", [&] { return send(fresh, "x", 1, 0); });
      me.note("SIGPIPE", pipe_signal.count());
      ends p = pipe_pair();
      me.call("send to a pipe", [&] { return send(p.theirs, "x", 1, 0); });
    });
  }
}
