#include "matrix_kinds.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <numeric>

namespace differential {

namespace {

void say_hello(int theirs) { must(write(theirs, "hello", 5), "write"); }
void count_one(int theirs) {
  const std::uint64_t one = 1;
  must(write(theirs, &one, sizeof one), "write");
}
void let_expire(int theirs) {
  const itimerspec soon{{0, 0}, {0, 1}};
  must(timerfd_settime(theirs, 0, &soon, nullptr), "timerfd_settime");
}
ends twins(int made) {
  ends e;
  e.ours = fd(must(made, "making a counter"));
  e.theirs = fd(must(dup(e.ours), "dup"));
  return e;
}

const descriptor all_kinds[] = {
    {"tcp", socket_kind | stream | tcp | two_ends | fills, tcp_pair, say_hello},
    {"udp", socket_kind, udp_pair, say_hello},
    {"unix stream", socket_kind | stream | two_ends | fills, [] { return stream_pair(); }, say_hello},
    {"unix datagram", socket_kind | two_ends | fills, [] { return datagram_pair(); }, say_hello},
    {"unix seqpacket", socket_kind | two_ends | fills, [] { return seqpacket_pair(); }, say_hello},
    {"pipe", stream | two_ends | fills, [] { return pipe_pair(); }, say_hello},
    {"fifo", stream | two_ends | fills, fifo_pair, say_hello},
    {"pty", stream | two_ends, pty_pair, say_hello},
    {"eventfd", counts, [] { return twins(eventfd(0, EFD_CLOEXEC)); }, count_one},
    {"timerfd", counts, [] { return twins(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)); }, let_expire},
};

std::size_t bytes_of(const channel& c) {
  return std::accumulate(c.taken.begin(), c.taken.end(), std::size_t{0},
                         [](std::size_t sum, const std::string& piece) { return sum + piece.size(); });
}

// What comes within that time, in one piece. An empty one, which ends a stream, is the last.
bool take_one(int from, channel& c, milliseconds patience) {
  pollfd there{from, POLLIN, 0};
  if (poll(&there, 1, static_cast<int>(patience.count())) <= 0) return false;
  std::string piece(65'536, 0);
  const ssize_t n = read(from, piece.data(), piece.size());
  if (n < 0) return false;
  piece.resize(static_cast<std::size_t>(n));
  c.taken.push_back(std::move(piece));
  return n > 0;
}

}  // namespace

std::span<const descriptor> descriptors() { return all_kinds; }

void take(int from, channel& c) {
  while (take_one(from, c, 0ms)) {
  }
}

void take_rest(int from, channel& c, std::size_t expected) {
  while (take_one(from, c, bytes_of(c) < expected ? 1000ms : 0ms)) {
  }
}

std::string delivered(const descriptor& d, const channel& c) {
  std::string bytes;
  std::size_t messages = 0;
  for (const std::string& piece : c.taken) {
    messages += bytes.size() >= c.filled;
    bytes += piece;
  }
  const bool whole = bytes.find_first_not_of('f') >= c.filled && bytes.size() >= c.filled;
  const std::string said = digest(std::string_view(bytes).substr(std::min(c.filled, bytes.size())));
  return (whole ? "" : "what filled it is spoilt, ") + (d.is(stream) ? said : std::to_string(messages) + " messages, " + said);
}

}  // namespace differential
