// Row 9: read and write through the symbol door, in a fiber, when they need not wait.

#include "doors.hpp"

#include <bide/bide.hpp>

#include <sys/socket.h>

namespace {

constexpr std::size_t size = 64;
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

void measure(pair p, const char* read_figure, const char* write_figure, const char* short_figure) {
  const auto raw = [p] {
    bench::expect(bench::raw_write(p.writer, out, size), size);
    bench::expect(bench::raw_read(p.reader, in, size), size);
  };
  const auto door_read = [p] {
    bench::expect(bench::raw_write(p.writer, out, size), size);
    bench::expect(read(p.reader, in, size), size);
  };
  const auto door_write = [p] {
    bench::expect(write(p.writer, out, size), size);
    bench::expect(bench::raw_read(p.reader, in, size), size);
  };
  // The buffer has more room than there is data, so a reader may expect to wait next time, and be wrong.
  const auto door_short_read = [p] {
    bench::expect(bench::raw_write(p.writer, out, size), size);
    bench::expect(read(p.reader, in, sizeof in), size);
  };
  bench::on_top(raw, door_read);
  bench::report("bide", read_figure, bench::on_top(raw, door_read));
  bench::report("bide", write_figure, bench::on_top(raw, door_write));
  bench::report("bide", short_figure, bench::on_top(raw, door_short_read));
}

void socket_ready() { measure(socket_pair(), "socket-read", "socket-write", "socket-short-read"); }
void pipe_ready() { measure(pipe_pair(), "pipe-read", "pipe-write", "pipe-short-read"); }

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
