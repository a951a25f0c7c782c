#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

// A pipe that is full but for what a reader takes.
ends full_pipe() {
  ends made = pipe_pair();
  must(fcntl(made.theirs, F_SETPIPE_SZ, 4096), "F_SETPIPE_SZ");
  fill(made.theirs);
  return made;
}

void note_contents(actor& me, int fd, long n) { me.note("bytes", n > 0 ? read_all(fd, static_cast<std::size_t>(n)) : ""); }

}  // namespace

TEST_SUITE("differential/splice") {
  TEST_CASE("splice waits for data in a pipe, and moves it to a pipe, a file or a socket") {
    for (const char* where : {"pipe", "file", "unix stream", "tcp"}) {
      CAPTURE(where);
      compare([where = std::string(where)](actor& me) {
        ends in = pipe_pair(), out = where == "tcp" ? tcp_pair() : where == "unix stream" ? stream_pair() : pipe_pair();
        const fd file = regular_file("");
        const int sink = where == "file" ? +file : +out.theirs;
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          must(write(in.theirs, "hello", 5), "write");
        });
        const long n = me.call("splice", [&] { return splice(in.ours, nullptr, sink, nullptr, 100, 0); });
        if (where == "file") must(lseek(file, 0, SEEK_SET), "lseek");
        note_contents(me, where == "file" ? +file : +out.ours, n);
        me.join(peer);
        in.theirs.close();
        me.call("splice at the end", [&] { return splice(in.ours, nullptr, sink, nullptr, 100, 0); });
      });
    }
  }

  TEST_CASE("splice waits for data of a socket or a terminal") {
    for (const kind& source : byte_streams) {
      CAPTURE(source.name);
      compare([&source](actor& me) {
        ends in = source.make(), out = pipe_pair();
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          must(write(in.theirs, "hello", 5), "write");
        });
        const long n = me.call("splice", [&] { return splice(in.ours, nullptr, out.theirs, nullptr, 100, 0); });
        note_contents(me, out.ours, n);
        me.join(peer);
      });
    }
  }

  TEST_CASE("splice waits for room in a pipe") {
    compare([](actor& me) {
      ends out = full_pipe();
      const fd file = regular_file("from a file");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.note("read", digest(read_all(out.ours, 4096)));
      });
      const long n = me.call("splice", [&] { return splice(file, nullptr, out.theirs, nullptr, 100, 0); });
      me.join(peer);
      note_contents(me, out.ours, n);
    });
  }

  TEST_CASE("splice waits for room in a socket") {
    compare([](actor& me) {
      ends in = pipe_pair(), out = stream_pair();
      shrink(out.theirs);
      const std::size_t before = fill(out.theirs);
      must(write(in.theirs, "hello", 5), "write");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.note("read", read_all(out.ours, before).size());
      });
      const long n = me.call("splice", [&] { return splice(in.ours, nullptr, out.theirs, nullptr, 5, 0); });
      me.join(peer);
      note_contents(me, out.ours, n);
    });
  }

  TEST_CASE("what says that it will not wait does not") {
    compare([](actor& me) {
      ends empty = pipe_pair(), full = full_pipe(), quiet = pipe_pair(O_NONBLOCK), some = pipe_pair();
      must(write(some.theirs, "hello", 5), "write");
      char byte = 'x';
      const iovec v{&byte, 1};
      me.call("splice SPLICE_F_NONBLOCK",
              [&] { return splice(empty.ours, nullptr, some.theirs, nullptr, 9, SPLICE_F_NONBLOCK); });
      me.call("splice from an O_NONBLOCK pipe", [&] { return splice(quiet.ours, nullptr, some.theirs, nullptr, 9, 0); });
      me.call("tee SPLICE_F_NONBLOCK", [&] { return tee(empty.ours, some.theirs, 9, SPLICE_F_NONBLOCK); });
      me.call("tee to a full pipe", [&] { return tee(some.ours, full.theirs, 9, SPLICE_F_NONBLOCK); });
      me.call("vmsplice SPLICE_F_NONBLOCK", [&] { return vmsplice(full.theirs, &v, 1, SPLICE_F_NONBLOCK); });
    });
  }

  TEST_CASE("what is refused is refused without a wait") {
    compare([](actor& me) {
      ends p = pipe_pair(), s = stream_pair();
      const fd file = regular_file("abc");
      off_t at = 0;
      me.call("splice between files", [&] { return splice(file, nullptr, file, nullptr, 1, 0); });
      me.call("splice of a pipe to itself", [&] { return splice(p.ours, nullptr, p.theirs, nullptr, 1, 0); });
      me.call("splice at an offset of a pipe", [&] { return splice(p.ours, &at, file, nullptr, 1, 0); });
      me.call("splice with unknown flags", [&] { return splice(p.ours, nullptr, s.ours, nullptr, 1, 1u << 30); });
      me.call("splice to what is closed", [&] { return splice(p.ours, nullptr, 999, nullptr, 1, 0); });
      me.call("splice from the wrong end", [&] { return splice(p.theirs, nullptr, s.ours, nullptr, 1, 0); });
      me.call("splice from an empty socket with unknown flags", [&] { return splice(s.ours, nullptr, p.theirs, nullptr, 1, 1u << 30); });
      me.call("splice from an empty socket at an offset", [&] { return splice(s.ours, &at, p.theirs, nullptr, 1, 0); });
      me.call("splice from an empty socket to an offset of a pipe", [&] { return splice(s.ours, nullptr, p.theirs, &at, 1, 0); });
      me.call("splice from an empty socket to the wrong end", [&] { return splice(s.ours, nullptr, p.ours, nullptr, 1, 0); });
      me.call("tee of files", [&] { return tee(file, p.theirs, 1, 0); });
      me.call("sendfile from a socket at an offset", [&] { return sendfile(p.theirs, s.ours, &at, 1); });
      me.call("sendfile of nothing", [&] { return sendfile(s.ours, file, nullptr, 0); });
      me.call("sendfile to what is closed", [&] { return sendfile(999, file, nullptr, 1); });
      me.call("sendfile to a reader", [&] { return sendfile(p.ours, file, nullptr, 1); });
      me.call("sendfile with a bad place",
              [&] { return sendfile(s.ours, file, opaque(static_cast<off_t*>(bad_address())), 1); });
    });
  }

  TEST_CASE("tee waits for data and leaves it where it was") {
    compare([](actor& me) {
      ends in = pipe_pair(), out = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(in.theirs, "hello", 5), "write");
      });
      const long n = me.call("tee", [&] { return tee(in.ours, out.theirs, 100, 0); });
      note_contents(me, out.ours, n);
      note_contents(me, in.ours, n);
      me.join(peer);
    });
  }

  TEST_CASE("vmsplice waits for room to give and for data to take") {
    compare([](actor& me) {
      ends out = full_pipe(), in = pipe_pair();
      char bytes[] = "hello", room[8] = {};
      const iovec give{bytes, 5}, take{room, 5};
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        read_all(out.ours, 4096);
        moment(30ms);
        peer.until_waiting(me);
        must(write(in.theirs, "world", 5), "write");
      });
      const long n = me.call("vmsplice to a pipe", [&] { return vmsplice(out.theirs, &give, 1, 0); });
      note_contents(me, out.ours, n);
      me.call("vmsplice from a pipe", [&] { return vmsplice(in.ours, &take, 1, 0); });
      me.note("taken", std::string_view(room));
      me.join(peer);
    });
  }
}

TEST_SUITE("differential/sendfile") {
  TEST_CASE("all of a file goes out, however slowly it is taken") {
    for (const kind& sink : byte_streams) {
      if (sink.name == "pty") continue;
      CAPTURE(sink.name);
      compare([&sink](actor& me) {
        ends out = sink.make();
        if (sink.name == "unix stream") shrink(out.theirs);
        const std::string all = pattern(sink.name == "tcp" ? 6'000'000 : 300'000);
        const fd file = regular_file(all);
        const bool whole = sink.name != "pipe" && sink.name != "fifo";  // to a pipe as much as fits at once
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          peer.note("read", digest(read_all(out.ours, whole ? all.size() - 10 : 1)));
        });
        off_t at = 10;
        const long n = me.call("sendfile", [&] { return sendfile(out.theirs, file, &at, all.size()); });
        me.note("offset", at);
        me.note("the file's own", lseek(file, 0, SEEK_CUR));
        me.note("sent", n);
        if (!whole) out.theirs.close();
        me.join(peer);
      });
    }
  }

  TEST_CASE("without an offset the file's own goes on") {
    for (const kind& sink : stream_sockets) {
      CAPTURE(sink.name);
      compare([&sink](actor& me) {
        ends out = sink.make();
        const fd file = regular_file("abcdefghij");
        must(lseek(file, 3, SEEK_SET), "lseek");
        me.call("sendfile", [&] { return sendfile(out.theirs, file, nullptr, 4); });
        me.note("offset", lseek(file, 0, SEEK_CUR));
        note_contents(me, out.ours, 4);
        me.call("sendfile past the end", [&] { return sendfile(out.theirs, file, nullptr, 100); });
        me.call("sendfile at the end", [&] { return sendfile(out.theirs, file, nullptr, 100); });
      });
    }
  }

  TEST_CASE("a timeout ends it with what was sent, or with EAGAIN") {
    compare([](actor& me) {
      ends out = stream_pair();
      shrink(out.theirs);
      set_timeout(out.theirs, SO_SNDTIMEO, 100ms);
      const fd file = regular_file(pattern(300'000));
      off_t at = 0;
      const long n = me.call_for(100ms, "sendfile is short", [&] {
        const long sent = sendfile(out.theirs, file, &at, 300'000);
        return sent > 0 && sent < 300'000 ? 1 : sent;
      });
      me.note("and says so", n);
      fill(out.theirs);
      me.call_for(100ms, "sendfile", [&] { return sendfile(out.theirs, file, &at, 300'000); });
    });
  }

  TEST_CASE("a peer that has gone is told as EPIPE") {
    compare([](actor& me) {
      const counting_handler broken(SIGPIPE, 0);
      ends out = stream_pair();
      out.ours.close();
      const fd file = regular_file("abc");
      me.call("sendfile", [&] { return sendfile(out.theirs, file, nullptr, 3); });
      me.note("SIGPIPE", broken.count());
    });
  }

  TEST_CASE("an O_NONBLOCK socket takes what it has room for") {
    compare([](actor& me) {
      ends out = stream_pair(SOCK_NONBLOCK);
      fill(out.theirs);
      const fd file = regular_file("abc");
      me.call("sendfile", [&] { return sendfile(out.theirs, file, nullptr, 3); });
    });
  }

  TEST_CASE("from file to file nothing waits") {
    compare([](actor& me) {
      const fd from = regular_file("abcdef"), to = regular_file("");
      me.call("sendfile", [&] { return sendfile(to, from, nullptr, 4); });
      me.call("copy_file_range", [&] { return copy_file_range(from, nullptr, to, nullptr, 4, 0); });
      must(lseek(to, 0, SEEK_SET), "lseek");
      note_contents(me, to, 6);
    });
  }
}

TEST_SUITE("differential/preadv2") {
  TEST_CASE("with flags and no offset it waits as readv and writev do") {
    for (const kind& how : byte_streams) {
      CAPTURE(how.name);
      compare([&how](actor& me) {
        ends e = how.make();
        char room[8] = {};
        const iovec v{room, sizeof room};
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          iovec bytes{const_cast<char*>("hello"), 5};
          peer.call("pwritev2", [&] { return pwritev2(e.theirs, &bytes, 1, -1, RWF_DSYNC); });
        });
        me.call("preadv2", [&] { return preadv2(e.ours, &v, 1, -1, RWF_HIPRI); });
        me.note("bytes", std::string_view(room));
        me.join(peer);
        me.call("preadv2 RWF_NOWAIT", [&] { return preadv2(e.ours, &v, 1, -1, RWF_NOWAIT); });
        me.call("preadv2 at an offset", [&] { return preadv2(e.ours, &v, 1, 0, 0); });
        me.call("preadv2 with unknown flags", [&] { return preadv2(e.ours, &v, 1, -1, 1 << 29); });
        me.call("of nothing", [&] { return preadv2(e.ours, &v, 0, -1, RWF_HIPRI); });
      });
    }
  }

  TEST_CASE("pwritev2 writes all") {
    for (const kind& how : stream_sockets) {
      CAPTURE(how.name);
      compare([&how](actor& me) {
        ends e = how.make();
        shrink(e.theirs);
        std::string all = pattern(how.name == "tcp" ? 6'000'000 : 300'000);
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          peer.note("read", digest(read_all(e.ours, all.size())));
        });
        const iovec v[2] = {{all.data(), 1000}, {all.data() + 1000, all.size() - 1000}};
        me.call("pwritev2", [&] { return pwritev2(e.theirs, v, 2, -1, RWF_DSYNC); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("a file is read and written at its offset and at others") {
    compare([](actor& me) {
      const fd file = regular_file("abcdef");
      char room[4] = {};
      const iovec v{room, 3};
      for (const off_t at : {off_t{-1}, off_t{1}, off_t{-1}}) {
        me.call("preadv2", [&] { return preadv2(file, &v, 1, at, RWF_HIPRI); });
        me.note("bytes", std::string_view(room));
      }
      me.call("pwritev2", [&] { return pwritev2(file, &v, 1, 2, RWF_SYNC); });
      me.call("pread", [&] { return pread(file, room, 3, 2); });
      me.note("bytes", std::string_view(room));
    });
  }
}
