// Calls that move several messages at once, and descriptors that travel with one.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

// Room for several messages, and what came.
struct mailbox {
  static constexpr unsigned size = 8;
  char room[size][16];
  iovec parts[size];
  mmsghdr heads[size];

  mailbox() {
    for (unsigned i = 0; i < size; ++i) {
      parts[i] = {room[i], sizeof room[i]};
      heads[i] = {};
      heads[i].msg_hdr.msg_iov = &parts[i];
      heads[i].msg_hdr.msg_iovlen = 1;
    }
  }
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;

  void set(unsigned i, std::string_view word) {
    memcpy(room[i], word.data(), word.size());
    parts[i].iov_len = word.size();
  }
  std::string words(long n) const {
    std::string all;
    for (long i = 0; i < n; ++i) all += std::string(first(room[i], heads[i].msg_len)) + " ";
    return all;
  }
};

void on_messages(void (*tell)(actor&, ends&)) {
  for (const kind& k : message_sockets) {
    CAPTURE(k.name);
    compare([&](actor& me) {
      ends e = k.make();
      tell(me, e);
    });
  }
}

// Descriptors as ancillary data, with room for `most`.
struct parcel {
  static constexpr std::size_t most = 4;
  alignas(cmsghdr) char control[CMSG_SPACE(most * sizeof(int))] = {};
  iovec part{};
  msghdr message{};

  parcel(void* bytes, std::size_t n) {
    part = {bytes, n};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
  parcel(const parcel&) = delete;
  parcel& operator=(const parcel&) = delete;

  void put(const std::vector<int>& fds) {
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
  }
  std::vector<fd> take() {
    std::vector<fd> all;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
      const std::size_t n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < n; ++i) {
        int number;
        memcpy(&number, CMSG_DATA(head) + i * sizeof(int), sizeof number);
        all.emplace_back(number);
      }
    }
    return all;
  }
};

}  // namespace

TEST_SUITE("differential/recvmmsg") {
  TEST_CASE("recvmmsg waits for as many messages as it asks for") {
    on_messages([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        for (const char* word : {"one", "two", "three"}) {
          peer.until_waiting(me);
          must(send(e.theirs, word, strlen(word), 0), "send");
        }
      });
      mailbox box;
      const long n = me.call("recvmmsg", [&] { return recvmmsg(e.ours, box.heads, 3, 0, nullptr); });
      me.note("messages", box.words(n));
      me.join(peer);
    });
  }

  TEST_CASE("MSG_WAITFORONE waits for one and takes what else is there") {
    on_messages([](actor& me, ends& e) {
      mailbox box;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "lone", 4, 0), "send");
      });
      long n = me.call("recvmmsg", [&] { return recvmmsg(e.ours, box.heads, 3, MSG_WAITFORONE, nullptr); });
      me.note("messages", box.words(n));
      me.join(peer);
      must(send(e.theirs, "one", 3, 0), "send");
      must(send(e.theirs, "two", 3, 0), "send");
      n = me.call("recvmmsg", [&] { return recvmmsg(e.ours, box.heads, 3, MSG_WAITFORONE, nullptr); });
      me.note("messages", box.words(n));
    });
  }

  TEST_CASE("recvmmsg with MSG_DONTWAIT or O_NONBLOCK takes what is there") {
    on_messages([](actor& me, ends& e) {
      mailbox box;
      me.call("of none", [&] { return recvmmsg(e.ours, box.heads, 3, MSG_DONTWAIT, nullptr); });
      must(send(e.theirs, "one", 3, 0), "send");
      must(send(e.theirs, "two", 3, 0), "send");
      me.call("of two", [&] { return recvmmsg(e.ours, box.heads, 3, MSG_DONTWAIT, nullptr); });
      set_nonblocking(e.ours);
      me.call("of none, O_NONBLOCK", [&] { return recvmmsg(e.ours, box.heads, 3, 0, nullptr); });
      must(send(e.theirs, "last", 4, 0), "send");
      me.call("of one, O_NONBLOCK", [&] { return recvmmsg(e.ours, box.heads, 3, 0, nullptr); });
    });
  }

  TEST_CASE("the timeout of recvmmsg is looked at after each message, and no earlier") {
    on_messages([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor&) {
        moment(150ms);
        must(send(e.theirs, "late", 4, 0), "send");
      });
      mailbox box;
      timespec limit{0, 50'000'000};
      const long n =
          me.call_for(150ms, "recvmmsg", [&] { return recvmmsg(e.ours, box.heads, 3, 0, &limit); });
      me.note("messages", box.words(n));
      me.note("left of the limit", limit.tv_sec * 1'000'000'000 + limit.tv_nsec);
      me.join(peer);
      timespec bad{0, 1'000'000'000};
      me.call("a limit that makes no sense", [&] { return recvmmsg(e.ours, box.heads, 1, 0, &bad); });
      must(send(e.theirs, "one", 3, 0), "send");
      timespec zero{0, 0};
      me.call("a limit of nothing", [&] { return recvmmsg(e.ours, box.heads, 3, 0, &zero); });
    });
  }

  TEST_CASE("recvmmsg with SO_RCVTIMEO returns those that came before it") {
    on_messages([](actor& me, ends& e) {
      set_timeout(e.ours, SO_RCVTIMEO, 120ms);
      must(send(e.theirs, "one", 3, 0), "send");
      mailbox box;
      const long n = me.call_for(120ms, "recvmmsg", [&] { return recvmmsg(e.ours, box.heads, 3, 0, nullptr); });
      me.note("messages", box.words(n));
      me.call_for(120ms, "recvmmsg of none", [&] { return recvmmsg(e.ours, box.heads, 3, 0, nullptr); });
    });
  }

  TEST_CASE("a recvmmsg that waits sees a shutdown as an empty message") {
    compare([](actor& me) {
      ends e = udp_pair();
      must(send(e.theirs, "one", 3, 0), "send");
      mailbox box;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        shutdown(e.ours, SHUT_RD);
      });
      me.call("recvmmsg", [&] { return recvmmsg(e.ours, box.heads, 2, 0, nullptr); });
      me.join(peer);
    });
  }

  TEST_CASE("an error after the first message leaves the count of those before it") {
    compare([](actor& me) {
      ends e = udp_pair();
      mailbox box;
      box.heads[1].msg_hdr.msg_iov = static_cast<iovec*>(bad_address());
      must(send(e.theirs, "one", 3, 0), "send");
      must(send(e.theirs, "two", 3, 0), "send");
      me.call("recvmmsg into a bad place", [&] { return recvmmsg(e.ours, box.heads, 2, 0, nullptr); });
      me.call("recvmmsg of no messages", [&] { return recvmmsg(e.ours, box.heads, 0, MSG_DONTWAIT, nullptr); });
    });
  }
}

TEST_SUITE("differential/sendmmsg") {
  TEST_CASE("sendmmsg sends each message and notes its length") {
    on_messages([](actor& me, ends& e) {
      mailbox box;
      box.set(0, "one");
      box.set(1, "");
      box.set(2, "three");
      const long n = me.call("sendmmsg", [&] { return sendmmsg(e.theirs, box.heads, 3, 0); });
      for (long i = 0; i < n; ++i) {
        me.note("its length", box.heads[i].msg_len);
        char room[16];
        me.call("the peer's recv", [&] { return recv(e.ours, room, sizeof room, MSG_DONTWAIT); });
      }
      me.call("sendmmsg of none", [&] { return sendmmsg(e.theirs, box.heads, 0, 0); });
    });
  }

  TEST_CASE("sendmmsg waits for room for all of them") {
    compare([](actor& me) {
      ends e = datagram_pair();
      fill(e.theirs);
      mailbox box;
      for (unsigned i = 0; i < 5; ++i) box.set(i, "word");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        empty(e.ours);
      });
      me.call("sendmmsg", [&] { return sendmmsg(e.theirs, box.heads, 5, 0); });
      me.join(peer);
    });
  }

  TEST_CASE("sendmmsg that cannot send them all counts those that went") {
    compare([](actor& me) {
      ends e = datagram_pair();
      mailbox box;
      for (unsigned i = 0; i < 3; ++i) box.set(i, "word");
      box.heads[2].msg_hdr.msg_iov = static_cast<iovec*>(bad_address());
      me.call("sendmmsg", [&] { return sendmmsg(e.theirs, box.heads, 3, 0); });
      fill(e.theirs);
      me.call("sendmmsg MSG_DONTWAIT", [&] { return sendmmsg(e.theirs, box.heads, 2, MSG_DONTWAIT); });
      set_nonblocking(e.theirs);
      me.call("sendmmsg, O_NONBLOCK", [&] { return sendmmsg(e.theirs, box.heads, 2, 0); });
    });
  }

  TEST_CASE("sendmmsg on a stream sends everything of every message") {
    for (const kind& k : stream_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        std::string bytes = pattern(900'000);
        mmsghdr heads[3] = {};
        iovec parts[3];
        for (int i = 0; i < 3; ++i) {
          parts[i] = {bytes.data() + i * 300'000, 300'000};
          heads[i].msg_hdr.msg_iov = &parts[i];
          heads[i].msg_hdr.msg_iovlen = 1;
        }
        fill(e.theirs);
        actor& drain = me.start("drain", [&](actor& drain) {
          drain.until_waiting(me);
          std::string room(8192, 'f');
          for (long n; (n = read(e.ours, room.data(), room.size())) > 0;)
            if (room[static_cast<std::size_t>(n) - 1] != 'f') break;
          read_all(e.ours, 850'000);
        });
        me.call("sendmmsg", [&] { return sendmmsg(e.theirs, heads, 3, 0); });
        for (const mmsghdr& head : heads) me.note("its length", head.msg_len);
        me.join(drain);
      });
    }
  }
}

TEST_SUITE("differential/ancillary") {
  TEST_CASE("a descriptor arrives with the message that brings it") {
    compare([](actor& me) {
      ends e = stream_pair();
      ends gift = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        char bytes[] = "take";
        parcel out(bytes, 4);
        out.put({gift.theirs});
        peer.call("sendmsg", [&] { return sendmsg(e.theirs, &out.message, 0); });
      });
      char room[16];
      parcel in(room, sizeof room);
      me.call("recvmsg", [&] { return recvmsg(e.ours, &in.message, MSG_CMSG_CLOEXEC); });
      std::vector<fd> got = in.take();
      me.note("descriptors", got.size());
      me.join(peer);
      if (got.empty()) return;
      me.note("FD_CLOEXEC", fcntl(got[0], F_GETFD) & FD_CLOEXEC);
      must(write(got[0], "through", 7), "write");
      const long n = me.call("read", [&] { return read(gift.ours, room, sizeof room); });
      me.note("bytes", first(room, n));
    });
  }

  TEST_CASE("descriptors are sent once, though the bytes go out in many pieces") {
    compare([](actor& me) {
      ends e = stream_pair();
      shrink(e.theirs);
      ends gift = pipe_pair();
      std::string bytes = pattern(500'000);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        std::string room(60'000, 0), all;
        std::size_t came = 0;
        while (all.size() < bytes.size()) {
          parcel in(room.data(), room.size());
          const long n = recvmsg(e.ours, &in.message, 0);
          if (n <= 0) break;
          all.append(room, 0, static_cast<std::size_t>(n));
          came += in.take().size();
        }
        peer.note("it has", digest(all));
        peer.note("descriptors", came);
      });
      parcel out(bytes.data(), bytes.size());
      out.put({gift.ours, gift.theirs});
      me.call("sendmsg", [&] { return sendmsg(e.theirs, &out.message, 0); });
      me.join(peer);
    });
  }

  TEST_CASE("MSG_WAITALL stops where descriptors arrive, as the kernel does") {
    compare([](actor& me) {
      ends e = stream_pair();
      ends gift = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(send(e.theirs, "ab", 2, 0), "send");
        moment(30ms);
        char bytes[] = "cd";
        parcel out(bytes, 2);
        out.put({gift.theirs});
        must(sendmsg(e.theirs, &out.message, 0), "sendmsg");
        moment(30ms);
        must(send(e.theirs, "ef", 2, 0), "send");
        moment(30ms);
        e.theirs.close();
      });
      char room[16];
      for (int i = 0; i < 3; ++i) {
        parcel in(room, 8);
        const long n = me.call("recvmsg", [&] { return recvmsg(e.ours, &in.message, MSG_WAITALL); });
        me.note("bytes", first(room, n));
        me.note("descriptors", in.take().size());
      }
      me.join(peer);
    });
  }

  TEST_CASE("too little room for descriptors cuts them off and says so") {
    compare([](actor& me) {
      ends e = stream_pair();
      ends gift = pipe_pair();
      char bytes[] = "two";
      parcel out(bytes, 3);
      out.put({gift.ours, gift.theirs});
      must(sendmsg(e.theirs, &out.message, 0), "sendmsg");
      char room[16];
      parcel in(room, sizeof room);
      in.message.msg_controllen = CMSG_LEN(sizeof(int));
      me.call("recvmsg", [&] { return recvmsg(e.ours, &in.message, 0); });
      me.note("MSG_CTRUNC", (in.message.msg_flags & MSG_CTRUNC) != 0);
      me.note("descriptors", in.take().size());
      parcel bad(bytes, 3);
      bad.put({-1});
      me.call("sendmsg of no descriptor", [&] { return sendmsg(e.theirs, &bad.message, 0); });
    });
  }
}
