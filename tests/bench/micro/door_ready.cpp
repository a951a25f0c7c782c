// Row 9: read and write through the symbol door, in a fiber, when they need not wait.

#include "doors.hpp"

#include <bide/bide.hpp>

#include <sys/socket.h>
#include <sys/uio.h>
#include <string>

namespace {

constexpr long size = 64;
char out[size], in[4096];

struct pair {
  int reader, writer;
};

pair socket_pair() {
  int ends[2];
  bench::expect(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  return {ends[0], ends[1]};
}

pair pipe_pair() {
  int ends[2];
  bench::expect(pipe(ends), 0);
  return {ends[0], ends[1]};
}

const iovec in_vector{in, size}, out_vector{out, size};

// The same without a runtime's work: the forms of read and write that say EAGAIN and never wait.
constexpr auto recv_now = [](int fd) { return bench::raw_call(SYS_recvfrom, fd, in, size, MSG_DONTWAIT); };
constexpr auto send_now = [](int fd) { return bench::raw_call(SYS_sendto, fd, out, size, MSG_DONTWAIT); };
constexpr auto preadv2_now = [](int fd) {
  return bench::raw_call(SYS_preadv2, fd, &in_vector, 1, -1, -1, RWF_NOWAIT);
};
constexpr auto pwritev2_now = [](int fd) {
  return bench::raw_call(SYS_pwritev2, fd, &out_vector, 1, -1, -1, RWF_NOWAIT);
};

template <class ReadNow, class WriteNow>
void measure(pair p, const std::string& kind, ReadNow read_now, WriteNow write_now) {
  // A turn is a write and a read, one of which is not the raw one.
  const auto reading_by = [p](auto reads) {
    return [p, reads] {
      bench::expect(bench::raw_write(p.writer, out, size), size);
      bench::expect(reads(p.reader), size);
    };
  };
  const auto writing_by = [p](auto writes) {
    return [p, writes] {
      bench::expect(writes(p.writer), size);
      bench::expect(bench::raw_read(p.reader, in, size), size);
    };
  };
  const auto raw = reading_by([](int fd) { return bench::raw_read(fd, in, size); });
  const auto door_read = reading_by([](int fd) { return read(fd, in, size); });
  const auto door_write = writing_by([](int fd) { return write(fd, out, size); });
  const auto say = [&](const char* what, double ns) { bench::report("bide", (kind + what).c_str(), ns); };
  bench::on_top(raw, door_read);
  say("-read", bench::on_top(raw, door_read));
  say("-write", bench::on_top(raw, door_write));
  say("-read-own", bench::on_top(reading_by(read_now), door_read));
  say("-write-own", bench::on_top(writing_by(write_now), door_write));
  // The buffer has more room than there is data, so a reader may expect to wait next time, and be wrong.
  say("-read-short", bench::on_top(raw, reading_by([](int fd) { return read(fd, in, sizeof in); })));
}

void socket_ready() { measure(socket_pair(), "socket", recv_now, send_now); }
void pipe_ready() { measure(pipe_pair(), "pipe", preadv2_now, pwritev2_now); }

// For strace: calls that find data ready and nothing else. One more run with twice as many tells what one costs.
template <long Times>
void count_calls() {
  for (const pair p : {socket_pair(), pipe_pair()}) {
    for (long i = 0; i < Times; ++i) {
      bench::expect(write(p.writer, out, size), size);
      bench::expect(read(p.reader, in, size), size);
    }
  }
}

constexpr bench::probe probes[] = {
    {"socket", socket_ready},
    {"pipe", pipe_ready},
    {"count-500", count_calls<500>},
    {"count-1000", count_calls<1000>},
};

}  // namespace

int main(int count, char** names) {
  return bide::run([&] { return bench::run_named(count, names, probes); });
}
