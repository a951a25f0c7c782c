// The client of rows 8, 11 and 12: many connections on one thread, a request out on each of them all the time.
//
// Two ways to end. `--seconds S`: closed loop, each answer sends the next request; reports the server's CPU time a
// request, from the server's process clock, and latencies. `--steps N`: N times a request on every connection, then
// all the answers, then `--pause-us P` in which the server comes to rest; for counting its kernel calls.

#include "histogram.hpp"
#include "server.hpp"

#include <sys/epoll.h>
#include <cstdint>
#include <ctime>
#include <vector>

namespace {

struct settings {
  int port = 0;
  int connections = 1;
  double seconds = 0;
  double warm_up = 0.3;
  long steps = 0;
  long pause_us = 0;
  std::size_t size = 64;
  pid_t server = 0;
};

settings parse(int count, char** arguments) {
  settings s;
  for (int i = 1; i + 1 < count; i += 2) {
    const char* name = arguments[i];
    const double value = std::atof(arguments[i + 1]);
    if (!std::strcmp(name, "--port"))
      s.port = static_cast<int>(value);
    else if (!std::strcmp(name, "--connections"))
      s.connections = static_cast<int>(value);
    else if (!std::strcmp(name, "--seconds"))
      s.seconds = value;
    else if (!std::strcmp(name, "--warm-up"))
      s.warm_up = value;
    else if (!std::strcmp(name, "--steps"))
      s.steps = static_cast<long>(value);
    else if (!std::strcmp(name, "--pause-us"))
      s.pause_us = static_cast<long>(value);
    else if (!std::strcmp(name, "--size"))
      s.size = static_cast<std::size_t>(value);
    else if (!std::strcmp(name, "--server"))
      s.server = static_cast<pid_t>(value);
    else
      errno = EINVAL, bench::fail(name);
  }
  return s;
}

std::int64_t clock_ns(clockid_t clock) {
  timespec t;
  if (clock_gettime(clock, &t) != 0) bench::fail("clock_gettime");
  return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_nsec;
}
std::int64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

class client {
 public:
  explicit client(const settings& how) : how_(how), message_(how.size, 'x'), loop_(epoll_create1(EPOLL_CLOEXEC)) {
    bench::raise_descriptor_limit();
    for (int i = 0; i < how.connections; ++i) add();
  }

  /// Keeps a request out on every connection for a while. Reports the part after the warm-up.
  void run_for(double warm_up, double seconds) {
    clockid_t server_cpu = CLOCK_MONOTONIC;
    if (how_.server && (errno = clock_getcpuclockid(how_.server, &server_cpu)) != 0) bench::fail("--server");
    for (connection& each : connections_) send(each, now_ns());
    wait_until(now_ns() + static_cast<std::int64_t>(warm_up * 1e9));
    latencies_.clear();
    answers_ = 0;
    const std::int64_t cpu = clock_ns(server_cpu);
    const std::int64_t start = now_ns();
    wait_until(start + static_cast<std::int64_t>(seconds * 1e9));
    const auto wall = static_cast<double>(now_ns() - start);
    const auto used = static_cast<double>(clock_ns(server_cpu) - cpu);
    std::printf("requests_per_second %.0f\nserver_busy %.3f\nserver_ns_per_request %.1f\n",
                static_cast<double>(answers_) / wall * 1e9, used / wall, used / static_cast<double>(answers_));
    std::printf("p50_us %.1f\np99_us %.1f\n", latencies_.quantile(0.5) / 1e3, latencies_.quantile(0.99) / 1e3);
  }

  /// Sends on all connections and waits for all answers, `steps` times.
  void run_steps(long steps, long pause_us) {
    for (long i = 0; i < steps; ++i) {
      usleep(static_cast<useconds_t>(pause_us));
      answers_ = 0;
      for (connection& each : connections_) send(each, 0);
      while (answers_ < connections_.size()) turn([](connection&) {});
    }
    std::printf("requests %ld\n", steps * static_cast<long>(connections_.size()));
  }

  /// Resets the connections: nothing is left in TIME_WAIT for the next round.
  void hang_up() {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    for (connection& each : connections_) {
      setsockopt(each.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      close(each.fd);
    }
  }

 private:
  struct connection {
    int fd = -1;
    std::size_t got = 0;
    std::int64_t sent_at = 0;
  };

  void add() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(how_.port));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) bench::fail("socket");
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) bench::fail("connect");
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{.events = EPOLLIN, .data = {.u32 = static_cast<std::uint32_t>(connections_.size())}};
    if (epoll_ctl(loop_, EPOLL_CTL_ADD, fd, &event) != 0) bench::fail("epoll_ctl");
    connections_.push_back({.fd = fd});
  }

  void send(connection& each, std::int64_t now) {
    each.sent_at = now;
    each.got = 0;
    if (write(each.fd, message_.data(), message_.size()) != static_cast<ssize_t>(message_.size()))
      bench::fail("write");
  }

  void wait_until(std::int64_t end) {
    for (std::int64_t now = 0; now < end;) {
      turn([&](connection& each) {
        now = now_ns();
        latencies_.add(static_cast<std::uint64_t>(now - each.sent_at));
        send(each, now);
      });
    }
  }

  template <class Answered>
  void turn(Answered&& answered) {
    epoll_event events[512];
    const int ready = epoll_wait(loop_, events, 512, 10'000);
    if (ready == 0) errno = ETIMEDOUT, bench::fail("no answer in 10 s");
    for (int i = 0; i < ready; ++i) {
      connection& each = connections_[events[i].data.u32];
      char buffer[4096];
      const ssize_t got = read(each.fd, buffer, sizeof buffer);
      if (got <= 0) bench::fail("the server hung up");
      each.got += static_cast<std::size_t>(got);
      if (each.got < message_.size()) continue;
      ++answers_;
      answered(each);
    }
  }

  settings how_;
  std::vector<char> message_;
  int loop_;
  std::vector<connection> connections_;
  std::size_t answers_ = 0;
  bench::histogram latencies_;
};

}  // namespace

int main(int count, char** arguments) {
  const settings how = parse(count, arguments);
  client all(how);
  if (how.steps > 0) {
    all.run_steps(how.steps, how.pause_us);
  } else {
    all.run_for(how.warm_up, how.seconds);
  }
  all.hang_up();
}
