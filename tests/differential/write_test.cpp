#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

constexpr std::size_t page = 4096;

// As much as takes many turns of reader and writer through that kind, but not long.
std::size_t plenty(const std::string& kind) { return kind == "pty" ? 200'000 : kind == "tcp" ? 8'000'000 : 2'000'000; }

// Starts a reader who begins when the first actor waits, and takes odd amounts until `n` bytes have come.
actor& start_drain(actor& me, const fd& from, std::size_t n) {
  return me.start("drain", [&me, &from, n](actor& drain) {
    drain.until_waiting(me);
    std::string all, room(50'001, 0);
    while (all.size() < n) {
      const long got = read(from, room.data(), std::min(room.size(), n - all.size()));
      if (got <= 0) break;
      all.append(room, 0, static_cast<std::size_t>(got));
    }
    drain.note("it has", digest(all));
  });
}

// A page that may be read, followed by one that may not.
class half_mapped {
 public:
  half_mapped() {
    at_ = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at_ == MAP_FAILED) must(-1, "mmap");
    std::fill_n(static_cast<char*>(at_), page, 'm');
    must(mprotect(static_cast<char*>(at_) + page, page, PROT_NONE), "mprotect");
  }
  half_mapped(const half_mapped&) = delete;
  half_mapped& operator=(const half_mapped&) = delete;
  ~half_mapped() { munmap(at_, 2 * page); }
  void* address() const { return at_; }

 private:
  void* at_;
};

}  // namespace

TEST_SUITE("differential/write") {
  TEST_CASE("a blocking write returns when everything is written") {
    for (const kind& k : byte_streams) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        const std::string bytes = pattern(plenty(k.name));
        actor& drain = start_drain(me, e.ours, bytes.size());
        me.call("write", [&] { return write(e.theirs, bytes.data(), bytes.size()); });
        me.join(drain);
      });
    }
  }

  TEST_CASE("a blocking writev returns when all its parts are written") {
    for (const kind& k : byte_streams) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        std::string bytes = pattern(plenty(k.name));
        std::vector<iovec> parts;
        for (std::size_t at = 0, n = 1; at < bytes.size(); at += n, n = n * 3 + 1) {
          n = std::min(n, bytes.size() - at);
          parts.push_back({bytes.data() + at, n});
          parts.push_back({nullptr, 0});
        }
        actor& drain = start_drain(me, e.ours, bytes.size());
        me.call("writev", [&] { return writev(e.theirs, parts.data(), static_cast<int>(parts.size())); });
        me.join(drain);
      });
    }
  }

  TEST_CASE("a write of a message waits until the reader makes room") {
    for (const kind& k : {message_sockets[0], message_sockets[1]}) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        must(write(e.theirs, "first", 5), "write");
        fill(e.theirs);
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          char room[16];
          set_nonblocking(e.ours);
          long n = peer.call("read", [&] { return read(e.ours, room, sizeof room); });
          peer.note("bytes", first(room, n));
          std::string big(page, 0);
          while (read(e.ours, big.data(), big.size()) > 0) {
          }
        });
        me.call("write", [&] { return write(e.theirs, "last", 4); });
        me.join(peer);
      });
    }
  }

  TEST_CASE("a write to an O_NONBLOCK descriptor takes what fits") {
    for (const kind& k : {byte_streams[0], byte_streams[1], byte_streams[2]}) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        set_nonblocking(e.theirs);
        const std::string bytes = pattern(1'000'000);
        const long n = me.call("write", [&] { return write(e.theirs, bytes.data(), bytes.size()); });
        me.note("is less than everything", n > 0 && n < 1'000'000);
        me.call("write again", [&] { return write(e.theirs, bytes.data(), bytes.size()); });
        iovec part{const_cast<char*>(bytes.data()), 1};
        me.call("writev of one byte", [&] { return writev(e.theirs, &part, 1); });
      });
    }
  }

  TEST_CASE("a small write to a nearly full pipe is all or nothing") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const std::string bytes = pattern(PIPE_BUF);
      const std::size_t capacity = fill(e.theirs);
      me.note("capacity", capacity);
      read_all(e.ours, 100);
      set_nonblocking(e.theirs);
      me.call("write of PIPE_BUF", [&] { return write(e.theirs, bytes.data(), PIPE_BUF); });
      read_all(e.ours, capacity - 200);
      me.call("write of PIPE_BUF with room", [&] { return write(e.theirs, bytes.data(), PIPE_BUF); });
    });
  }

  TEST_CASE("writes of up to PIPE_BUF do not mix in a pipe") {
    compare([](actor& me) {
      constexpr int rounds = 100, writers = 3;
      ends e = pipe_pair();
      fill(e.theirs);
      std::vector<actor*> all;
      for (int w = 0; w < writers; ++w)
        all.push_back(&me.start("writer", [&e, w](actor& writer) {
          const std::string block(PIPE_BUF, static_cast<char>('a' + w));
          writer.call("first write", [&] { return write(e.theirs, block.data(), block.size()); });
          int bad = 0;
          for (int i = 1; i < rounds; ++i) bad += write(e.theirs, block.data(), block.size()) != PIPE_BUF;
          writer.note("writes that fell short", bad);
        }));
      for (actor* writer : all) me.until_waiting(*writer);
      int torn = 0, seen = 0;
      std::string block;
      while (seen < rounds * writers) {
        block = read_all(e.ours, PIPE_BUF);
        if (block.size() < PIPE_BUF) break;
        if (block[0] == 'f') continue;  // what filled it
        ++seen;
        torn += block.find_first_not_of(block[0]) != std::string::npos;
      }
      me.note("blocks", seen);
      me.note("torn", torn);
      for (actor* writer : all) me.join(*writer);
    });
  }

  TEST_CASE("a writer who waits learns that the reader left: what went out, or EPIPE") {
    for (const kind& k : {byte_streams[0], byte_streams[1], byte_streams[2]}) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        const counting_handler pipe_signal(SIGPIPE, 0);
        ends e = k.make();
        const std::string bytes = pattern(1'000'000);
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          peer.note("read", digest(read_all(e.ours, 2 * page)));
          peer.until_waiting(me);
          e.ours.close();
        });
        me.call("write", [&] { return write(e.theirs, bytes.data(), bytes.size()); });
        me.note("SIGPIPE", pipe_signal.count());
        me.join(peer);
        me.call("write again", [&] { return write(e.theirs, bytes.data(), bytes.size()); });
        me.note("SIGPIPE", pipe_signal.count());
      });
      compare([&](actor& me) {
        const counting_handler pipe_signal(SIGPIPE, 0);
        ends e = k.make();
        fill(e.theirs);
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          e.ours.close();
        });
        me.call("write to a full one", [&] { return write(e.theirs, "x", 1); });
        me.note("SIGPIPE", pipe_signal.count());
        me.join(peer);
      });
    }
  }

  TEST_CASE("a write of nothing is nothing, or an empty message") {
    for (const kind& k : byte_streams) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        me.call("write", [&] { return write(e.theirs, nullptr, 0); });
        me.call("writev", [&] { return writev(e.theirs, nullptr, 0); });
      });
    }
    for (const kind& k : message_sockets) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        me.call("write", [&] { return write(e.theirs, nullptr, 0); });
        char room[4];
        set_nonblocking(e.ours);
        me.call("the peer's recv", [&] { return recv(e.ours, room, sizeof room, 0); });
      });
    }
  }

  TEST_CASE("a bad place to write from is EFAULT, or a short write where some of it was good") {
    for (const kind& k : byte_streams) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        me.call("write", [&] { return write(e.theirs, bad_address(), 8); });
        const half_mapped half;
        const long n = me.call("write", [&] { return write(e.theirs, half.address(), 2 * page); });
        set_nonblocking(e.ours);
        me.note("the peer has", digest(read_all(e.ours, n > 0 ? static_cast<std::size_t>(n) : 0)));
        iovec parts[] = {{half.address(), 10}, {bad_address(), 10}};
        me.call("writev", [&] { return writev(e.theirs, parts, 2); });
      });
    }
  }

  TEST_CASE("what can never be waited for is written as it is") {
    compare([](actor& me) {
      const fd file = regular_file("");
      me.call("write to a file", [&] { return write(file, "words", 5); });
      iovec parts[] = {{const_cast<char*>(" and"), 4}, {const_cast<char*>(" more"), 5}};
      me.call("writev to a file", [&] { return writev(file, parts, 2); });
      char room[32];
      const long n = pread(file, room, sizeof room, 0);
      me.note("the file has", first(room, n));
      const fd full(must(open("/dev/full", O_RDWR | O_CLOEXEC), "open"));
      me.call("write to /dev/full", [&] { return write(full, "x", 1); });
      const fd null(must(open("/dev/null", O_RDWR | O_CLOEXEC), "open"));
      me.call("write to /dev/null", [&] { return write(null, "words", 5); });
      ends e = pipe_pair();
      me.call("write to the end that reads", [&] { return write(e.ours, "x", 1); });
      me.call("a negative count of parts", [&] { return writev(e.theirs, parts, opaque(-1)); });
      const fd fresh = tcp_socket();
      const counting_handler pipe_signal(SIGPIPE, 0);
      me.call("write to an unconnected socket", [&] { return write(fresh, "x", 1); });
      me.note("SIGPIPE", pipe_signal.count());
    });
  }
}
