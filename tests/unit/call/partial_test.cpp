// Transfers under faults, one after another on each way that bytes and messages can take: what went in comes out, whole, once
// and in order.
#include <doctest/doctest.h>

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::sys::raw;

namespace {

// No byte is like its neighbours, nor like that a page or a piece further on.
std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 131 + i / 251);
  return text;
}

// One call that takes, or gives, up to so many bytes.
using put = std::function<long(int to, const char* from, std::size_t size)>;
using get = std::function<long(int from, char* to, std::size_t size)>;

// Each attempt of these in turn: as it is, short, in vain, interrupted, shorter still, refused.
void plague(fault_plan& faults, const std::vector<long>& attempted, int refusal) {
  for (const long nr : attempted) {
    faults.on(nr).every(7, 1).at_most(700);
    faults.on(nr).every(7, 2).fail_with(EAGAIN);
    faults.on(nr).every(7, 3).fail_with(EINTR);
    faults.on(nr).every(7, 4).at_most(1);
    faults.on(nr).every(7, 5).fail_with(refusal);
    faults.on(nr).every(7, 6).first([] { bide::yield(); });
  }
}

bool is_fault(long answer) { return answer == -EINTR || answer == -ENOMEM || answer == -ENOBUFS; }

// As a careful program does it: a call that failed is made again, and one that fell short is gone on with.
std::string through(const ends& way, const std::string& text, const put& gives, const get& takes) {
  auto writer = bide::spawn([&] {
    for (std::size_t at = 0; at < text.size();) {
      const long n = gives(way.theirs, text.data() + at, std::min<std::size_t>(text.size() - at, 5000));
      if (n <= 0 && !is_fault(n)) return n;
      at += static_cast<std::size_t>(std::max(n, 0L));
    }
    return 0L;
  });
  std::string got(text.size(), '\0');
  for (std::size_t at = 0; at < got.size();) {
    const long n = takes(way.ours, got.data() + at, std::min<std::size_t>(got.size() - at, 3000));
    if (n <= 0 && !is_fault(n)) {
      CHECK(n > 0);
      writer.cancel();
      break;
    }
    at += static_cast<std::size_t>(std::max(n, 0L));
  }
  CHECK(writer.get() == 0);
  return got;
}

// Two parts, neither of which ends where a fault does.
struct halves {
  iovec parts[2];
  msghdr header{};
  mmsghdr list{};
  halves(const char* at, std::size_t size)
      : parts{{const_cast<char*>(at), size / 3}, {const_cast<char*>(at) + size / 3, size - size / 3}} {
    header.msg_iov = parts;
    header.msg_iovlen = 2;
    list.msg_hdr = header;
  }
};

struct writing {
  const char* name;
  std::vector<long> attempted;
  put gives;
};
struct reading {
  const char* name;
  std::vector<long> attempted;
  get takes;
};

const reading plain_read{"read", {SYS_recvfrom, SYS_preadv2},
                         [](int from, char* to, std::size_t size) { return make_call(SYS_read, from, to, size); }};
const writing plain_write{"write", {SYS_sendto, SYS_pwritev2},
                          [](int to, const char* from, std::size_t size) { return make_call(SYS_write, to, from, size); }};

std::vector<writing> writings_on_any() {
  return {plain_write, {"writev", {SYS_sendmsg, SYS_pwritev2}, [](int to, const char* from, std::size_t size) {
            const halves h(from, size);
            return make_call(SYS_writev, to, h.parts, 2);
          }}};
}

std::vector<writing> writings_on_sockets() {
  std::vector<writing> all = writings_on_any();
  all.push_back({"sendto", {SYS_sendto}, [](int to, const char* from, std::size_t size) {
    return make_call(SYS_sendto, to, from, size, 0, nullptr, 0);
  }});
  all.push_back({"sendmsg", {SYS_sendmsg}, [](int to, const char* from, std::size_t size) {
    const halves h(from, size);
    return make_call(SYS_sendmsg, to, &h.header, 0);
  }});
  // Of its faults a short count of messages has none to be short of; its message may go in part by the rest's.
  all.push_back({"sendmmsg", {SYS_sendmmsg, SYS_sendmsg}, [](int to, const char* from, std::size_t size) {
    halves h(from, size);
    const long n = make_call(SYS_sendmmsg, to, &h.list, 1, 0);
    return n == 1 ? static_cast<long>(h.list.msg_len) : n;
  }});
  return all;
}

std::vector<reading> readings_on_any() {
  return {plain_read, {"readv", {SYS_recvmsg, SYS_preadv2}, [](int from, char* to, std::size_t size) {
            const halves h(to, size);
            return make_call(SYS_readv, from, h.parts, 2);
          }}};
}

std::vector<reading> readings_on_sockets() {
  std::vector<reading> all = readings_on_any();
  for (const long flags : {0L, long{MSG_WAITALL}}) {
    all.push_back({flags ? "recvfrom, all of it" : "recvfrom", {SYS_recvfrom, SYS_recvmsg}, [flags](int from, char* to, std::size_t size) {
      return make_call(SYS_recvfrom, from, to, size, flags, nullptr, nullptr);
    }});
    all.push_back({flags ? "recvmsg, all of it" : "recvmsg", {SYS_recvmsg}, [flags](int from, char* to, std::size_t size) {
      halves h(to, size);
      return make_call(SYS_recvmsg, from, &h.header, flags);
    }});
    all.push_back({flags ? "recvmmsg, all of it" : "recvmmsg", {SYS_recvmmsg, SYS_recvmsg}, [flags](int from, char* to, std::size_t size) {
      halves h(to, size);
      const long n = make_call(SYS_recvmmsg, from, &h.list, 1, flags, nullptr);
      return n == 1 ? static_cast<long>(h.list.msg_len) : n;
    }});
  }
  return all;
}

// By way of a pipe of its own, which is left empty.
class detour {
 public:
  // From memory into the pipe, and on by `moves` until all is through. Returns how much that is.
  template <class Move>
  long give(const char* from, std::size_t size, Move moves) const {
    const long n = raw(SYS_write, +pipe_.theirs, from, std::min<std::size_t>(size, 4096));
    for (long left = n; left > 0;) {
      const long moved = moves(pipe_.ours.number(), left);
      if (moved <= 0 && !is_fault(moved)) return moved;
      left -= std::max(moved, 0L);
    }
    return n;
  }
  template <class Move>
  long take(char* to, std::size_t size, Move moves) const {
    const long n = moves(pipe_.theirs.number(), static_cast<long>(std::min<std::size_t>(size, 4096)));
    return n <= 0 ? n : raw(SYS_read, +pipe_.ours, to, n);
  }

 private:
  const ends pipe_ = pipe_ends();
};

// A file to send from.
class file {
 public:
  explicit file(const std::string& text) {
    char path[] = "/tmp/bide-partial.XXXXXX";
    number_ = fd(::mkstemp(path));
    ::unlink(path);
    raw(SYS_pwrite64, +number_, text.data(), text.size(), 0);
  }
  operator int() const { return number_; }
  long at() const { return raw(SYS_lseek, +number_, 0, SEEK_CUR); }

 private:
  fd number_;
};

void each_way(const std::vector<writing>& writings, const std::vector<reading>& readings, ends (*make)(int), int type,
              const std::string& text) {
  for (const writing& w : writings) {
    for (const reading& r : readings) {
      CAPTURE(std::string(w.name));
      CAPTURE(std::string(r.name));
      fault_plan faults;
      plague(faults, w.attempted, ENOBUFS);
      plague(faults, r.attempted, ENOMEM);
      CHECK(through(make(type), text, w.gives, r.takes) == text);
      CHECK(faults.faults() > 10);
    }
  }
}

// What carries whole messages, with their numbers in them.
void numbered(int count, const std::function<long(int)>& gives, const std::function<long(int&)>& takes) {
  auto writer = bide::spawn([&] {
    for (int i = 0; i < count;) {
      const long n = gives(i);
      if (n < 0 && !is_fault(n)) return n;
      i += n >= 0;
    }
    return 0L;
  });
  for (int i = 0; i < count;) {
    int number = -1;
    const long n = takes(number);
    if (n < 0 && !is_fault(n)) {
      CHECK(n >= 0);
      writer.cancel();
      break;
    }
    if (n >= 0) CHECK(number == i++);
  }
  CHECK(writer.get() == 0);
}

// As plague(), for what is never short.
void plague_messages(fault_plan& faults, long nr, long would_wait, int refusal) {
  faults.on(nr).every(5, 1).answer(would_wait);
  faults.on(nr).every(5, 2).fail_with(EINTR);
  faults.on(nr).every(5, 3).fail_with(refusal);
  faults.on(nr).every(5, 4).first([] { bide::yield(); });
}

}  // namespace

TEST_SUITE("call/partial") {
  TEST_CASE("under faults a stream socket carries every byte once, in order, by whatever calls") {
    on_workers([] { each_way(writings_on_sockets(), readings_on_sockets(), socket_pair, SOCK_STREAM, pattern(60'000)); });
  }

  TEST_CASE("under faults a pipe carries every byte once, in order, by whatever calls") {
    on_workers([] {
      auto writings = writings_on_any();
      auto readings = readings_on_any();
      writings.push_back({"pwritev2 with flags", {SYS_pwritev2}, [](int to, const char* from, std::size_t size) {
        const halves h(from, size);
        return make_call(SYS_pwritev2, to, h.parts, 2, -1, -1, RWF_HIPRI);
      }});
      readings.push_back({"preadv2 with flags", {SYS_preadv2}, [](int from, char* to, std::size_t size) {
        const halves h(to, size);
        return make_call(SYS_preadv2, from, h.parts, 2, -1, -1, RWF_HIPRI);
      }});
      // Pages of the caller's, which must not change before they are read: all of them are there to the end.
      writings.push_back({"vmsplice", {SYS_vmsplice}, [](int to, const char* from, std::size_t size) {
        const halves h(from, size);
        return make_call(SYS_vmsplice, to, h.parts, 2, 0);
      }});
      readings.push_back({"vmsplice", {SYS_vmsplice}, [](int from, char* to, std::size_t size) {
        const halves h(to, size);
        return make_call(SYS_vmsplice, from, h.parts, 2, 0);
      }});
      each_way(writings, readings, pipe_ends, 0, pattern(100'000));
    });
  }

  TEST_CASE("under faults splice carries every byte once, in order, between pipes and sockets") {
    on_workers([] {
      const detour in, out;
      const writing gives{"splice", {SYS_splice}, [&](int to, const char* from, std::size_t size) {
        return in.give(from, size, [to](int pipe, long n) { return make_call(SYS_splice, pipe, nullptr, to, nullptr, n, 0); });
      }};
      const reading takes{"splice", {SYS_splice}, [&](int from, char* to, std::size_t size) {
        return out.take(to, size, [from](int pipe, long n) { return make_call(SYS_splice, from, nullptr, pipe, nullptr, n, 0); });
      }};
      each_way({gives, plain_write}, {takes, plain_read}, socket_pair, SOCK_STREAM, pattern(60'000));
      each_way({gives, plain_write}, {takes, plain_read}, pipe_ends, 0, pattern(60'000));
    });
  }

  TEST_CASE("under faults sendfile carries every byte once, in order, and leaves the file where it has got to") {
    on_workers([] {
      const std::string text = pattern(300'000);
      for (const bool own_offset : {false, true}) {
        CAPTURE(own_offset);
        for (const bool pipe : {false, true}) {
          CAPTURE(pipe);
          const file source(text);
          long offset = 0;
          fault_plan faults;
          plague(faults, {pipe ? SYS_splice : SYS_sendto}, ENOBUFS);
          if (!pipe) plague(faults, {SYS_pread64}, ENOMEM);
          const put sends = [&](int to, const char* from, std::size_t) {
            const long before = own_offset ? offset : source.at();
            if (before != from - text.data()) return -long{ESPIPE};
            return make_call(SYS_sendfile, to, source, own_offset ? &offset : nullptr, text.size() - static_cast<std::size_t>(before));
          };
          CHECK(through(pipe ? pipe_ends() : socket_pair(), text, sends, plain_read.takes) == text);
          CHECK((own_offset ? offset : source.at()) == static_cast<long>(text.size()));
          CHECK(faults.faults() > 10);
        }
      }
    });
  }

  TEST_CASE("under faults tee shows what is there, and takes none of it") {
    on_workers([] {
      const std::string text = pattern(40'000);
      const ends from = pipe_ends(), to = pipe_ends();
      std::string copies, taken;
      fault_plan faults;
      plague(faults, {SYS_tee}, ENOMEM);
      auto writer = bide::spawn([&] { return write_text(from.theirs, text); });
      char some[4096];
      while (taken.size() < text.size()) {
        const long n = make_call(SYS_tee, from.ours, to.theirs, sizeof some, 0);
        if (is_fault(n)) continue;
        REQUIRE(n > 0);
        for (const auto& [pipe, all] : {std::pair{&to.ours, &copies}, std::pair{&from.ours, &taken}}) {
          REQUIRE(raw(SYS_read, +*pipe, some, n) == n);
          all->append(some, static_cast<std::size_t>(n));
        }
      }
      CHECK(writer.get() == static_cast<long>(text.size()));
      CHECK(copies == text);
      CHECK(taken == text);
      CHECK(faults.faults() > 10);
    });
  }

  TEST_CASE("under faults a copy from file to file, on the worker or off it, has every byte in its place") {
    const std::string text = pattern(100'000);
    for (const auto how : {bide::file_calls::direct, bide::file_calls::offloaded}) {
      in_runtime([&] {
        const file from(text), to("");
        fault_plan faults;
        for (const long nr : {SYS_copy_file_range, SYS_pread64, SYS_pwrite64}) {
          faults.on(nr).every(4, 1).at_most(700);
          faults.on(nr).every(4, 2).fail_with(ENOMEM);
          faults.on(nr).every(4, 3).at_most(1);
        }
        const long size = static_cast<long>(text.size()), half = size / 2;
        long in = 0, out = 0;
        while (in < half) {
          const long n = make_call(SYS_copy_file_range, from, &in, to, &out, std::min(half - in, 3000L), 0);
          REQUIRE((n > 0 || n == -ENOMEM));
        }
        for (long at = half; at < size;) {
          char some[3000];
          const long n = make_call(SYS_pread64, from, some, std::min(size - at, 3000L), at);
          REQUIRE((n > 0 || n == -ENOMEM));
          for (long done = 0; done < n;) done += std::max(0L, make_call(SYS_pwrite64, to, some + done, n - done, at + done));
          at += std::max(n, 0L);
        }
        std::string got(text.size(), '\0');
        CHECK(raw(SYS_pread64, static_cast<int>(to), got.data(), got.size(), 0) == size);
        CHECK(got == text);
        CHECK(faults.faults() > 10);
      }, {.files = how});
    }
  }

  TEST_CASE("under faults messages come whole, once and in order, by sockets, POSIX's queues and System V's") {
    static constexpr int count = 300;
    on_workers([] {
      {
        const ends pair = socket_pair(SOCK_SEQPACKET);
        fault_plan faults;
        plague_messages(faults, SYS_sendto, -EAGAIN, ENOBUFS);
        plague_messages(faults, SYS_recvfrom, -EAGAIN, ENOMEM);
        numbered(count, [&](int i) { return make_call(SYS_write, pair.theirs, &i, sizeof i); },
                 [&](int& i) { return make_call(SYS_read, pair.ours, &i, sizeof i); });
        CHECK(faults.faults() > count);
      }
      {
        const std::string name = "bide-partial." + std::to_string(::getpid());
        mq_attr size{};
        size.mq_maxmsg = 4;
        size.mq_msgsize = sizeof(int);
        const fd queue(raw(SYS_mq_open, name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600, &size));
        raw(SYS_mq_unlink, name.c_str());
        fault_plan faults;
        plague_messages(faults, SYS_mq_timedsend, -ETIMEDOUT, ENOMEM);
        plague_messages(faults, SYS_mq_timedreceive, -ETIMEDOUT, ENOMEM);
        numbered(count, [&](int i) { return make_call(SYS_mq_timedsend, queue, &i, sizeof i, 0, nullptr); },
                 [&](int& i) { return make_call(SYS_mq_timedreceive, queue, &i, sizeof i, nullptr, nullptr); });
        CHECK(faults.faults() > count);
      }
      {
        const int queue = ::msgget(IPC_PRIVATE, 0600);
        struct letter {
          long type;
          int number;
        };
        // A wait that an attempt has begun is the call itself: only every second of them is one.
        fault_plan faults;
        plague_messages(faults, SYS_msgsnd, -EINTR, ENOMEM);
        plague_messages(faults, SYS_msgrcv, -EINTR, ENOMEM);
        numbered(count, [&](int i) {
          const letter l{1, i};
          return make_call(SYS_msgsnd, queue, &l, sizeof l.number, 0);
        }, [&](int& i) {
          letter l;
          const long n = make_call(SYS_msgrcv, queue, &l, sizeof l.number, 0, 0);
          i = l.number;
          return n;
        });
        CHECK(faults.faults() > count);
        ::msgctl(queue, IPC_RMID, nullptr);
      }
    });
  }

  TEST_CASE("under faults a semaphore gives as often as it was given") {
    on_workers([] {
      const int set = ::semget(IPC_PRIVATE, 1, 0600);
      fault_plan faults;
      plague_messages(faults, SYS_semtimedop, -EINTR, ENOMEM);
      const auto change = [set](short by) {
        sembuf s{0, by, 0};
        long n;
        do n = make_call(SYS_semop, set, &s, 1);
        while (is_fault(n));
        return n;
      };
      auto ups = bide::spawn([&] {
        for (int i = 0; i < 200; ++i) CHECK(change(1) == 0);
      });
      for (int i = 0; i < 190; ++i) CHECK(change(-1) == 0);
      ups.join();
      CHECK(::semctl(set, 0, GETVAL) == 10);
      CHECK(faults.faults() > 100);
      ::semctl(set, 0, IPC_RMID);
    });
  }

  TEST_CASE("a blocking write goes on after a short count; a read shows it") {
    on_workers([] {
      for (const bool pipe : {false, true}) {
        CAPTURE(pipe);
        const ends pair = pipe ? pipe_ends() : socket_pair();
        fault_plan faults;
        for (const long nr : {SYS_sendto, SYS_sendmsg, SYS_pwritev2}) faults.on(nr).at_most(3);
        for (const long nr : {SYS_recvfrom, SYS_preadv2}) faults.on(nr).at_most(4);
        CHECK(write_text(pair.theirs, "ten bytes!") == 10);
        CHECK(read_some(pair.ours) == "ten ");
        CHECK(read_some(pair.ours) == "byte");
        CHECK(read_some(pair.ours) == "s!");
        char a[] = "gather", b[] = "ed";
        const iovec two[] = {{a, 6}, {b, 2}};
        CHECK(make_call(SYS_writev, pair.theirs, two, 2) == 8);
        std::string got = read_some(pair.ours);
        got += read_some(pair.ours);
        CHECK(got == "gathered");
      }
    });
  }

  TEST_CASE("MSG_WAITALL goes on after a short count, and shows what came before an error") {
    in_runtime([] {
      const ends pair = socket_pair();
      write_text(pair.theirs, "0123456789");
      char all[10] = {};
      fault_plan faults;
      faults.on(SYS_recvmsg).calls(1, 3).at_most(2);
      CHECK(make_call(SYS_recvfrom, pair.ours, all, 8, MSG_WAITALL, nullptr, nullptr) == 8);
      CHECK(std::string(all, 8) == "01234567");
      faults.on(SYS_recvmsg).call(5).at_most(1);
      faults.on(SYS_recvmsg).call(6).fail_with(ECONNRESET);
      CHECK(make_call(SYS_recvfrom, pair.ours, all, 8, MSG_WAITALL, nullptr, nullptr) == 1);
    });
  }
}
