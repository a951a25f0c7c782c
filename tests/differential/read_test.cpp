#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

void everywhere(void (*tell)(actor&, ends&)) {
  auto on = [&](const kind& k) {
    CAPTURE(k.name);
    compare([&](actor& me) {
      ends e = k.make();
      tell(me, e);
    });
  };
  for (const kind& k : byte_streams) on(k);
  for (const kind& k : message_sockets) on(k);
}

}  // namespace

TEST_SUITE("differential/read") {
  TEST_CASE("a read waits for bytes and returns those that came") {
    everywhere([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return write(e.theirs, "hello", 5); });
      });
      char room[64];
      const long n = me.call("read", [&] { return read(e.ours, room, sizeof room); });
      me.note("bytes", first(room, n));
      me.join(peer);
    });
  }

  TEST_CASE("a read takes at most what it asks for and leaves the rest") {
    everywhere([](actor& me, ends& e) {
      char room[64];
      me.call("write", [&] { return write(e.theirs, "abcdef", 6); });
      const long n = me.call("read 4", [&] { return read(e.ours, room, 4); });
      me.note("bytes", first(room, n));
      set_nonblocking(e.ours);  // messages lose their rest, streams keep it
      const long m = me.call("read again", [&] { return read(e.ours, room, sizeof room); });
      me.note("bytes", first(room, m));
    });
  }

  TEST_CASE("a read of an O_NONBLOCK descriptor never waits") {
    everywhere([](actor& me, ends& e) {
      set_nonblocking(e.ours);
      char room[8];
      me.call("read", [&] { return read(e.ours, room, sizeof room); });
      iovec part{room, sizeof room};
      me.call("readv", [&] { return readv(e.ours, &part, 1); });
    });
  }

  TEST_CASE("a read of nothing never waits") {
    everywhere([](actor& me, ends& e) {
      me.call("read", [&] { return read(e.ours, nullptr, 0); });
      me.call("readv of no parts", [&] { return readv(e.ours, nullptr, 0); });
      iovec part{nullptr, 0};
      me.call("readv of an empty part", [&] { return readv(e.ours, &part, 1); });
    });
  }

  TEST_CASE("readv fills its parts in order") {
    everywhere([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return write(e.theirs, "0123456789", 10); });
      });
      char a[3] = {}, b[4] = {}, c[16] = {};
      iovec parts[] = {{a, sizeof a}, {nullptr, 0}, {b, sizeof b}, {c, sizeof c}};
      me.call("readv", [&] { return readv(e.ours, parts, 4); });
      me.note("bytes", std::string(a, 3) + "|" + std::string(b, 4) + "|" + std::string(c, 3));
      me.join(peer);
    });
  }

  TEST_CASE("readv refuses what the kernel refuses") {
    everywhere([](actor& me, ends& e) {
      char room[8];
      std::vector<iovec> many(IOV_MAX + 1, iovec{room, 1});
      must(write(e.theirs, "12345678", 8), "write");
      me.call("too many parts", [&] { return readv(e.ours, many.data(), opaque(IOV_MAX + 1)); });
      me.call("fewer than none", [&] { return readv(e.ours, many.data(), opaque(-1)); });
      iovec vast[] = {{room, SSIZE_MAX}, {room, SSIZE_MAX}};
      me.call("a sum beyond SSIZE_MAX", [&] { return readv(e.ours, vast, 2); });
      me.call("as many as may be", [&] { return readv(e.ours, many.data(), 8); });
    });
  }

  TEST_CASE("a reader who waits sees the end when the writer leaves") {
    everywhere([](actor& me, ends& e) {
      // A datagram socket sees no end.
      const timeval limit{0, 300'000};
      setsockopt(e.ours, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        e.theirs.close();
      });
      char room[8];
      me.call("read", [&] { return read(e.ours, room, sizeof room); });
      me.join(peer);
      me.call("read after the end", [&] { return read(e.ours, room, sizeof room); });
    });
  }

  TEST_CASE("many readers of one pipe each get their own bytes") {
    compare([](actor& me) {
      ends e = pipe_pair();
      std::vector<actor*> readers;
      std::string got(6, 0);
      for (int i = 0; i < 6; ++i)
        readers.push_back(&me.start("reader", [&e, &got, i](actor& reader) {
          reader.call("read", [&] { return read(e.ours, &got[static_cast<std::size_t>(i)], 1); });
        }));
      for (actor* reader : readers) me.until_waiting(*reader);
      me.call("write", [&] { return write(e.theirs, "abcdef", 6); });
      for (actor* reader : readers) me.join(*reader);
      std::sort(got.begin(), got.end());
      me.note("all together", got);
    });
  }

  TEST_CASE("one descriptor is read and written at the same time") {
    for (const kind& k : stream_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        shrink(e.ours);
        const std::string bytes = pattern(8'000'000);  // more than TCP takes in without a reader
        actor& writer = me.start("writer", [&](actor& writer) {
          writer.call("write", [&] { return write(e.ours, bytes.data(), bytes.size()); });
        });
        actor& reader = me.start("reader", [&](actor& reader) {
          char room[8];
          const long n = reader.call("read", [&] { return read(e.ours, room, sizeof room); });
          reader.note("bytes", first(room, n));
        });
        me.until_waiting(writer);
        me.until_waiting(reader);
        must(write(e.theirs, "ping", 4), "write");
        me.join(reader);
        me.note("the peer has", digest(read_all(e.theirs, bytes.size())));
        me.join(writer);
      });
    }
  }

  TEST_CASE("a bad place to read to is EFAULT, before and after a wait") {
    everywhere([](actor& me, ends& e) {
      must(write(e.theirs, "early", 5), "write");
      me.call("read of what is there", [&] { return read(e.ours, bad_address(), 8); });
      char room[8];
      set_nonblocking(e.ours);
      const long n = me.call("read what is left", [&] { return read(e.ours, room, sizeof room); });
      me.note("bytes", first(room, n));
    });
    everywhere([](actor& me, ends& e) {
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "later", 5), "write");
      });
      me.call("read of what comes", [&] { return read(e.ours, bad_address(), 8); });
      me.join(peer);
    });
  }

  TEST_CASE("what can never be waited for is read as it is") {
    compare([](actor& me) {
      const fd file = regular_file("some words");
      char room[64];
      me.call("read a file", [&] { return read(file, room, 4); });
      me.call("read its rest", [&] { return read(file, room, sizeof room); });
      me.call("read at its end", [&] { return read(file, room, sizeof room); });
      set_nonblocking(file);
      me.call("read at its end, O_NONBLOCK", [&] { return read(file, room, sizeof room); });
      const fd folder(must(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open"));
      me.call("read a folder", [&] { return read(folder, room, sizeof room); });
      const fd path(must(open("/tmp", O_PATH | O_CLOEXEC), "open"));
      me.call("read an O_PATH descriptor", [&] { return read(path, room, sizeof room); });
      const fd null(must(open("/dev/null", O_RDWR | O_CLOEXEC), "open"));
      me.call("read /dev/null", [&] { return read(null, room, sizeof room); });
      const fd zero(must(open("/dev/zero", O_RDWR | O_CLOEXEC), "open"));
      me.call("read /dev/zero", [&] { return read(zero, room, sizeof room); });
      const fd proc(must(open("/proc/self/comm", O_RDONLY | O_CLOEXEC), "open"));
      me.call("read from /proc", [&] { return read(proc, room, 1); });
      const listener at = tcp_listener();
      me.call("read a listening socket", [&] { return read(at.socket, room, sizeof room); });
      const fd fresh = tcp_socket();
      me.call("read an unconnected socket", [&] { return read(fresh, room, sizeof room); });
      ends e = pipe_pair();
      me.call("read the end that writes", [&] { return read(e.theirs, room, sizeof room); });
      me.call("more than there is address space for", [&] { return read(e.ours, room, opaque(~std::size_t{0})); });
    });
  }

  TEST_CASE("an inotify descriptor is read when something happens") {
    compare([](actor& me) {
      const fd watch(must(inotify_init1(IN_CLOEXEC), "inotify_init1"));
      char folder[] = "/tmp/differential.XXXXXX";
      if (!mkdtemp(folder)) must(-1, "mkdtemp");
      must(inotify_add_watch(watch, folder, IN_DELETE_SELF), "inotify_add_watch");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        rmdir(folder);
      });
      alignas(inotify_event) char room[512];
      me.call("read", [&] { return read(watch, room, sizeof(inotify_event)); });
      me.note("mask", reinterpret_cast<inotify_event*>(room)->mask);
      me.join(peer);
    });
  }
}
