#include "matrix_kinds.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <numeric>

namespace differential {

namespace {

void say_hello(ends& e) { must(write(e.theirs, "hello", 5), "write"); }
void count_one(ends& e) {
  const std::uint64_t one = 1;
  must(write(e.theirs, &one, sizeof one), "write");
}
void let_expire(ends& e) {
  const itimerspec soon{{0, 0}, {0, 1}};
  must(timerfd_settime(e.theirs, 0, &soon, nullptr), "timerfd_settime");
}
void send_signal(ends&) { must(kill(getpid(), SIGUSR2), "kill"); }
void end_child(ends& e) {
  say_hello(e);
  pollfd ended{e.ours, POLLIN, 0};
  must(poll(&ended, 1, 1000), "poll");
}
void be_a_client(ends& e) {
  sockaddr_in at{};
  socklen_t length = sizeof at;
  must(getsockname(e.ours, reinterpret_cast<sockaddr*>(&at), &length), "getsockname");
  must(connect(e.theirs, reinterpret_cast<const sockaddr*>(&at), length), "connect");
}

ends twins(long made) {
  ends e;
  e.ours = fd(must(made, "making a descriptor"));
  e.theirs = fd(must(dup(e.ours), "dup"));
  return e;
}
ends signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  return twins(signalfd(-1, &set, SFD_CLOEXEC));
}
std::string name_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }
// Theirs is a file, ours tells when that is written.
ends changes() {
  ends e{fd(must(inotify_init1(IN_CLOEXEC), "inotify_init1")), regular_file("")};
  must(inotify_add_watch(e.ours, name_of(e.theirs).c_str(), IN_MODIFY), "inotify_add_watch");
  return e;
}
// Read from its start, and written at its end.
ends file() {
  ends e{regular_file(""), fd()};
  e.theirs = fd(must(open(name_of(e.ours).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC), "open"));
  return e;
}
// Of a child that ends when it is written to, or left.
ends child() {
  ends e = pipe_pair();
  const long made = must(fork(), "fork");
  if (made == 0) {
    e.theirs.close();
    char one;
    _exit(read(e.ours, &one, 1) == 1 ? 0 : 1);
  }
  e.ours = fd(must(syscall(SYS_pidfd_open, made, 0), "pidfd_open"));
  return e;
}
// In which theirs, a counter, is.
ends set() {
  ends e{fd(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")), fd(must(eventfd(0, EFD_CLOEXEC), "eventfd"))};
  epoll_event event{EPOLLIN, {}};
  must(epoll_ctl(e.ours, EPOLL_CTL_ADD, e.theirs, &event), "epoll_ctl");
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
    {"file", stream, file, say_hello},
    {"eventfd", counts, [] { return twins(eventfd(0, EFD_CLOEXEC)); }, count_one},
    {"timerfd", tells, [] { return twins(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)); }, let_expire},
    {"signalfd", tells, signals, send_signal, sizeof(signalfd_siginfo), offsetof(signalfd_siginfo, ssi_pid)},
    {"inotify", tells, changes, say_hello, sizeof(inotify_event)},
    {"pidfd", tells | only_ready, child, end_child},
    {"epoll set", tells | only_ready, set, count_one},
    {"listener", tells | only_ready, [] { return ends{tcp_listener().socket, tcp_socket()}; }, be_a_client},
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

std::span<const descriptor> descriptors() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  must(pthread_sigmask(SIG_BLOCK, &set, nullptr), "pthread_sigmask");
  return all_kinds;
}

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
    bytes += piece.substr(0, d.same);
  }
  const bool whole = bytes.find_first_not_of('f') >= c.filled && bytes.size() >= c.filled;
  const std::string said = digest(std::string_view(bytes).substr(std::min(c.filled, bytes.size())));
  return (whole ? "" : "what filled it is spoilt, ") + (d.is(stream) ? said : std::to_string(messages) + " messages, " + said);
}

}  // namespace differential
