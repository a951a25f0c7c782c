#include <doctest/doctest.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

void on_sockets(void (*tell)(actor&, ends&)) {
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

void on_streams(void (*tell)(actor&, ends&)) {
  for (const kind& k : stream_sockets) {
    CAPTURE(k.name);
    compare([&](actor& me) {
      ends e = k.make();
      tell(me, e);
    });
  }
}

long recv_message(int fd, void* room, std::size_t n, int flags, msghdr* left = nullptr) {
  iovec part{room, n};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const long got = recvmsg(fd, &message, flags);
  if (left) *left = message;
  return got;
}

}  // namespace

TEST_SUITE("differential/recv") {
  TEST_CASE("recv, recvfrom and recvmsg wait for bytes and return those that came") {
    on_sockets([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        for (const char* word : {"one", "two", "three"}) {
          peer.until_waiting(me);
          peer.call("send", [&] { return send(e.theirs, word, strlen(word), 0); });
        }
      });
      char room[64];
      long n = me.call("recv", [&] { return recv(e.ours, room, sizeof room, 0); });
      me.note("bytes", first(room, n));
      n = me.call("recvfrom", [&] { return recvfrom(e.ours, room, sizeof room, 0, nullptr, nullptr); });
      me.note("bytes", first(room, n));
      n = me.call("recvmsg", [&] { return recv_message(e.ours, room, sizeof room, 0); });
      me.note("bytes", first(room, n));
      me.join(peer);
    });
  }

  TEST_CASE("MSG_DONTWAIT and O_NONBLOCK never wait") {
    on_sockets([](actor& me, ends& e) {
      char room[8];
      me.call("recv", [&] { return recv(e.ours, room, sizeof room, MSG_DONTWAIT); });
      me.call("recv MSG_WAITALL", [&] { return recv(e.ours, room, sizeof room, MSG_DONTWAIT | MSG_WAITALL); });
      me.call("recvfrom", [&] { return recvfrom(e.ours, room, sizeof room, MSG_DONTWAIT, nullptr, nullptr); });
      me.call("recvmsg", [&] { return recv_message(e.ours, room, sizeof room, MSG_DONTWAIT); });
      set_nonblocking(e.ours);
      me.call("recv, O_NONBLOCK", [&] { return recv(e.ours, room, sizeof room, 0); });
      me.call("recv MSG_PEEK, O_NONBLOCK", [&] { return recv(e.ours, room, sizeof room, MSG_PEEK); });
      must(send(e.theirs, "abc", 3, 0), "send");
      me.call("recv MSG_WAITALL, O_NONBLOCK", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
    });
  }

  TEST_CASE("MSG_PEEK waits and leaves the bytes where they are") {
    on_sockets([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "hello", 5, 0), "send");
      });
      char room[8];
      long n = me.call("peek", [&] { return recv(e.ours, room, 3, MSG_PEEK); });
      me.note("bytes", first(room, n));
      n = me.call("recv", [&] { return recv(e.ours, room, sizeof room, 0); });
      me.note("bytes", first(room, n));
      me.join(peer);
    });
  }

  TEST_CASE("MSG_WAITALL waits for everything, however it comes") {
    on_streams([](actor& me, ends& e) {
      const std::string bytes = pattern(300'000);
      actor& peer = me.start("peer", [&](actor& peer) {
        for (std::size_t at = 0, n = 1; at < bytes.size(); at += n, n *= 4) {
          n = std::min(n, bytes.size() - at);
          peer.until_waiting(me);
          must(send(e.theirs, bytes.data() + at, n, 0), "send");
        }
      });
      std::string room(bytes.size(), 0);
      me.call("recv", [&] { return recv(e.ours, room.data(), room.size(), MSG_WAITALL); });
      me.note("bytes", digest(room));
      me.join(peer);
    });
  }

  TEST_CASE("MSG_WAITALL of recvmsg fills every part") {
    on_streams([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        for (const char* piece : {"01", "234567", "89"}) {
          peer.until_waiting(me);
          must(send(e.theirs, piece, strlen(piece), 0), "send");
        }
      });
      char a[3], b[7];
      iovec parts[] = {{a, sizeof a}, {b, sizeof b}};
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = 2;
      me.call("recvmsg", [&] { return recvmsg(e.ours, &message, MSG_WAITALL); });
      me.note("bytes", std::string(a, 3) + "|" + std::string(b, 7));
      me.note("parts still as they were", parts[0].iov_base == a && parts[1].iov_len == sizeof b);
      me.join(peer);
    });
  }

  TEST_CASE("MSG_WAITALL returns what there is at the end of the stream") {
    on_streams([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "some", 4, 0), "send");
        peer.until_waiting(me);
        e.theirs.close();
      });
      char room[64];
      const long n = me.call("recv", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
      me.note("bytes", first(room, n));
      me.call("recv at the end", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
      me.join(peer);
    });
  }

  TEST_CASE("MSG_WAITALL with a timeout returns what came in time") {
    on_streams([](actor& me, ends& e) {
      set_timeout(e.ours, SO_RCVTIMEO, 150ms);
      must(send(e.theirs, "some", 4, 0), "send");
      char room[64];
      const long n = me.call_for(150ms, "recv", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
      me.note("bytes", first(room, n));
      me.call_for(150ms, "recv of nothing", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
    });
  }

  TEST_CASE("MSG_WAITALL with MSG_PEEK counts each byte once") {
    on_streams([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "abc", 3, 0), "send");
        moment(50ms);
        must(send(e.theirs, "def", 3, 0), "send");
        moment(50ms);
        e.theirs.close();
      });
      char room[8] = {};
      const long n = me.call("peek", [&] { return recv(e.ours, room, 6, MSG_PEEK | MSG_WAITALL); });
      me.note("bytes", first(room, n));
      me.join(peer);
      const long m = me.call("recv", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
      me.note("bytes", first(room, m));
    });
  }

  TEST_CASE("MSG_WAITALL of a message returns one message") {
    for (const kind& k : message_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          must(send(e.theirs, "abc", 3, 0), "send");
        });
        char room[8];
        me.call("recv", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("a recv of nothing waits where the kernel waits") {
    on_sockets([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor&) {
        moment(120ms);
        must(send(e.theirs, "hello", 5, 0), "send");
      });
      me.call_for(120ms, "recv", [&] { return recv(e.ours, nullptr, 0, 0); });
      me.join(peer);
      char room[8];
      me.call("recv what is left", [&] { return recv(e.ours, room, sizeof room, MSG_DONTWAIT); });
    });
  }

  TEST_CASE("SO_RCVLOWAT makes a recv wait for that much") {
    on_streams([](actor& me, ends& e) {
      const int least = 10;
      must(setsockopt(e.ours, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least), "setsockopt");
      must(send(e.theirs, "four", 4, 0), "send");
      actor& peer = me.start("peer", [&](actor&) {
        moment(120ms);
        must(send(e.theirs, "sixteen more", 12, 0), "send");
      });
      char room[64];
      const long n = me.call_for(120ms, "recv", [&] { return recv(e.ours, room, sizeof room, 0); });
      me.note("bytes", first(room, n));
      me.join(peer);
    });
  }

  TEST_CASE("a message longer than the room is cut, and says so") {
    for (const kind& k : message_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        actor& peer = me.start("peer", [&](actor& peer) {
          for (int i = 0; i < 2; ++i) {
            peer.until_waiting(me);
            must(send(e.theirs, "0123456789", 10, 0), "send");
          }
        });
        char room[4];
        msghdr left{};
        me.call("recvmsg", [&] { return recv_message(e.ours, room, sizeof room, 0, &left); });
        me.note("MSG_TRUNC", (left.msg_flags & MSG_TRUNC) != 0);
        me.call("recv MSG_TRUNC", [&] { return recv(e.ours, room, sizeof room, MSG_TRUNC); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("recvfrom and recvmsg tell who sent it") {
    compare([](actor& me) {
      ends e = udp_pair();
      sockaddr_in theirs{};
      socklen_t length = sizeof theirs;
      must(getsockname(e.theirs, reinterpret_cast<sockaddr*>(&theirs), &length), "getsockname");
      actor& peer = me.start("peer", [&](actor& peer) {
        for (int i = 0; i < 2; ++i) {
          peer.until_waiting(me);
          must(send(e.theirs, "hello", 5, 0), "send");
        }
      });
      char room[8];
      sockaddr_storage from{};
      length = sizeof from;
      me.call("recvfrom",
              [&] { return recvfrom(e.ours, room, sizeof room, 0, reinterpret_cast<sockaddr*>(&from), &length); });
      me.note("length of the address", length);
      me.note("it is the peer's", memcmp(&from, &theirs, 8) == 0);
      iovec part{room, sizeof room};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_name = &from;
      message.msg_namelen = sizeof from;
      me.call("recvmsg", [&] { return recvmsg(e.ours, &message, 0); });
      me.note("length of the address", message.msg_namelen);
      me.join(peer);
    });
  }

  TEST_CASE("urgent data and the error queue are asked for without a wait") {
    compare([](actor& me) {
      ends e = tcp_pair();
      char room[8];
      me.call("MSG_OOB with none", [&] { return recv(e.ours, room, sizeof room, MSG_OOB); });
      me.call("MSG_ERRQUEUE with none", [&] { return recv(e.ours, room, sizeof room, MSG_ERRQUEUE); });
      must(send(e.theirs, "!", 1, MSG_OOB), "send");
      pollfd urgent{e.ours, POLLPRI, 0};
      me.call("poll", [&] { return poll(&urgent, 1, 1000); });
      const long n = me.call("MSG_OOB", [&] { return recv(e.ours, room, sizeof room, MSG_OOB); });
      me.note("bytes", first(room, n));
    });
    compare([](actor& me) {
      ends e = udp_pair();
      char room[8];
      me.call("MSG_ERRQUEUE of UDP", [&] { return recv(e.ours, room, sizeof room, MSG_ERRQUEUE); });
    });
  }

  TEST_CASE("a bad place to receive to is EFAULT") {
    on_sockets([](actor& me, ends& e) {
      must(send(e.theirs, "early", 5, 0), "send");
      me.call("recv", [&] { return recv(e.ours, bad_address(), 8, MSG_PEEK); });
      char room[8];
      me.call("recv again", [&] { return recv(e.ours, room, sizeof room, MSG_DONTWAIT); });
    });
  }
}
