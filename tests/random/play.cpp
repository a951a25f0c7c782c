#include <bide/bide.hpp>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "program.hpp"

namespace random_programs {

namespace {

constexpr unsigned channels = 4;

// What the parties share.
struct world {
  explicit world(unsigned parties) {
    for (unsigned i = 0; i < channels; ++i) {
      int both[2];
      kinds[i] = i % 3;
      if (kinds[i] == 0) pipe2(both, O_CLOEXEC);
      else if (kinds[i] == 1) socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both);
      else tcp(both);
      readers[i] = both[0], writers[i] = both[1];
    }
    for (int& s : semaphores) s = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    for (unsigned i = 0; i < parties; ++i) {
      int both[2];
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both);
      silent.push_back(both[0]), silent_peers.push_back(both[1]);
    }
    addresses.resize(parties * parties);
    for (sockaddr_in& at : addresses) listeners.push_back(listen_on(at));
  }
  ~world() {
    for (unsigned i = 0; i < channels; ++i) close(readers[i]), close(writers[i]);
    for (const int s : semaphores) close(s);
    for (std::size_t i = 0; i < silent.size(); ++i) close(silent[i]), close(silent_peers[i]);
    for (const int l : listeners) close(l);
  }
  world(const world&) = delete;

  static int listen_on(sockaddr_in& at) {
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(s, reinterpret_cast<sockaddr*>(&at), sizeof at);
    listen(s, 64);
    socklen_t size = sizeof at;
    getsockname(s, reinterpret_cast<sockaddr*>(&at), &size);
    return s;
  }
  static void tcp(int (&both)[2]) {
    sockaddr_in at{};
    const int s = listen_on(at);
    both[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connect(both[1], reinterpret_cast<sockaddr*>(&at), sizeof at);
    both[0] = accept4(s, nullptr, nullptr, SOCK_CLOEXEC);
    close(s);
  }

  int kinds[channels], readers[channels], writers[channels], semaphores[2];
  std::vector<int> silent, silent_peers, listeners;
  std::vector<sockaddr_in> addresses;
  std::mutex counting[2], leveling[2];
  int counters[2] = {};
  std::uint32_t levels[2] = {};
  std::condition_variable changes[2];
};

std::string answer(long n) { return n < 0 ? strerrorname_np(errno) : std::to_string(n); }

char byte_of(unsigned channel, std::uint64_t at) { return static_cast<char>((at * 31 + channel * 7 + (at >> 8)) & 0xff); }

class party {
 public:
  party(world& w, const program& p, unsigned me, std::uint64_t seed, means how)
      : w_(w), p_(p), me_(me), roll_(seed ^ (me + 1) * 77), how_(how) {}

  std::string run() {
    for (const step& s : p_.steps) {
      if (s.party != me_) continue;
      jostle();
      saw_ += std::to_string(static_cast<int>(s.what)) + ':' + does(s) + ' ';
    }
    return saw_;
  }

 private:
  // Chance, of another seed each time, as to who is quicker.
  void jostle() {
    const auto n = roll_(12);
    if (n == 0) usleep(roll_(300));
    else if (n < 4) how_ == means::fibers ? bide::yield() : std::this_thread::yield();
  }

  std::string does(const step& s) {
    switch (s.what) {
      case act::send: return send_bytes(s, w_.writers[s.object]);
      case act::receive: return receive_bytes(s);
      case act::pour: return send_bytes(s, w_.writers[s.object]);
      case act::drain: return receive_bytes(s);
      case act::shut: return shut(s);
      case act::end: {
        char room[4];
        return answer(read(w_.readers[s.object], room, sizeof room));
      }
      case act::renumber: return renumber(s.way % 2 ? w_.writers[s.object] : w_.readers[s.object], s.way);
      case act::count: {
        const std::lock_guard hold(w_.counting[s.object]);
        const int before = w_.counters[s.object];
        jostle();
        w_.counters[s.object] = before + 1;
        return "";
      }
      case act::raise: {
        {
          const std::lock_guard hold(w_.leveling[s.object]);
          ++w_.levels[s.object];
        }
        w_.changes[s.object].notify_all();
        return "";
      }
      case act::await: {
        std::unique_lock hold(w_.leveling[s.object]);
        const auto there = [&] { return w_.levels[s.object] >= s.amount; };
        if (s.way % 2) w_.changes[s.object].wait(hold, there);
        else while (!w_.changes[s.object].wait_for(hold, std::chrono::milliseconds(2), there)) {}
        return there() ? "there" : "not there";
      }
      case act::post: return answer(eventfd_write(w_.semaphores[s.object], 1));
      case act::take: {
        eventfd_t n = 0;
        const int error = eventfd_read(w_.semaphores[s.object], &n);
        return answer(error) + '/' + std::to_string(n);
      }
      case act::expire: return expire(s);
      case act::refuse: return refuse(s);
      case act::nap: return nap(s);
      case act::connect: return connect_to(s);
      case act::accept: return accept_from(s);
    }
    return "?";
  }

  std::string send_bytes(const step& s, int fd) {
    std::string bytes(s.amount, 0);
    for (char& c : bytes) c = byte_of(s.object, sent_[s.object]++);
    const iovec parts[] = {{bytes.data(), bytes.size() / 2}, {bytes.data() + bytes.size() / 2, bytes.size() - bytes.size() / 2}};
    const bool socket = w_.kinds[s.object] != 0;
    switch (s.way % 3) {
      case 0: return answer(writev(fd, parts, 2));
      case 1:
        if (socket) return answer(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL));
        [[fallthrough]];
      default: return answer(write(fd, bytes.data(), bytes.size()));
    }
  }

  // Waits for the first of them by a call of readiness, perhaps.
  void until_readable(int fd, unsigned way) {
    pollfd p{fd, POLLIN, 0};
    if (way == 0) poll(&p, 1, -1);
    if (way == 1) {
      fd_set set;
      FD_ZERO(&set);
      FD_SET(fd, &set);
      select(fd + 1, &set, nullptr, nullptr, nullptr);
    }
    if (way == 2) {
      const int e = epoll_create1(EPOLL_CLOEXEC);
      epoll_event event{EPOLLIN, {}};
      epoll_ctl(e, EPOLL_CTL_ADD, fd, &event);
      epoll_wait(e, &event, 1, -1);
      close(e);
    }
  }

  std::string receive_bytes(const step& s) {
    const int fd = w_.readers[s.object];
    until_readable(fd, s.way % 7);
    std::string bytes(s.amount, 0);
    std::size_t got = 0;
    const bool socket = w_.kinds[s.object] != 0;
    while (got < bytes.size()) {
      long n;
      iovec part{bytes.data() + got, bytes.size() - got};
      if (socket && s.way % 3 == 0) n = recv(fd, part.iov_base, part.iov_len, MSG_WAITALL);
      else if (s.way % 3 == 1) n = readv(fd, &part, 1);
      else n = read(fd, part.iov_base, part.iov_len);
      if (n <= 0) return "after " + std::to_string(got) + ' ' + answer(n);
      got += static_cast<std::size_t>(n);
    }
    for (const char c : bytes)
      if (c != byte_of(s.object, received_[s.object]++)) return "wrong byte";
    return std::to_string(got);
  }

  std::string shut(const step& s) {
    int& fd = w_.writers[s.object];
    if (w_.kinds[s.object] != 0 && s.way % 2) return answer(shutdown(fd, SHUT_WR));
    const long n = close(fd);
    fd = -1;
    return answer(n);
  }

  std::string renumber(int& fd, unsigned way) {
    const int twin = way % 4 < 2 ? dup(fd) : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (twin < 0) return answer(twin);
    const int old = fd;
    fd = twin;
    return answer(close(old));
  }

  std::string expire(const step& s) {
    const int fd = w_.silent[me_];
    const int length = static_cast<int>(s.amount);
    char byte;
    switch (s.way % 4) {
      case 0: {
        const timeval limit{0, length * 1000}, none{};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        const std::string said = answer(recv(fd, &byte, 1, 0));
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
        return said;
      }
      case 1: {
        pollfd p{fd, POLLIN, 0};
        return answer(poll(&p, 1, length));
      }
      case 2: {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(fd, &set);
        timeval limit{0, length * 1000};
        return answer(select(fd + 1, &set, nullptr, nullptr, &limit));
      }
      default: {
        const int e = epoll_create1(EPOLL_CLOEXEC);
        epoll_event event{EPOLLIN, {}};
        epoll_ctl(e, EPOLL_CTL_ADD, fd, &event);
        const std::string said = answer(epoll_wait(e, &event, 1, length));
        close(e);
        return said;
      }
    }
  }

  std::string refuse(const step& s) {
    const int fd = w_.silent[me_];
    char byte;
    if (s.way % 2) return answer(recv(fd, &byte, 1, MSG_DONTWAIT));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    const std::string said = answer(read(fd, &byte, 1));
    fcntl(fd, F_SETFL, 0);
    return said;
  }

  std::string nap(const step& s) {
    if (s.amount == 0) return how_ == means::fibers ? bide::yield(), "" : (std::this_thread::yield(), "");
    const timespec length{0, s.amount * 400'000};
    return answer(nanosleep(&length, nullptr));
  }

  std::string connect_to(const step& s) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::string said = answer(connect(fd, reinterpret_cast<sockaddr*>(&w_.addresses[s.object]), sizeof(sockaddr_in)));
    char byte = 'q';
    said += answer(write(fd, &byte, 1));
    said += answer(read(fd, &byte, 1));
    said += byte;
    close(fd);
    return said;
  }

  std::string accept_from(const step& s) {
    const int fd = accept(w_.listeners[s.object], nullptr, nullptr);
    if (fd < 0) return answer(fd);
    char byte = 0;
    std::string said = answer(read(fd, &byte, 1));
    said += byte;
    byte = 'a';
    said += answer(write(fd, &byte, 1));
    close(fd);
    return said;
  }

  world& w_;
  const program& p_;
  const unsigned me_;
  dice roll_;
  const means how_;
  std::string saw_;
  std::uint64_t sent_[channels] = {}, received_[channels] = {};
};

history among(const program& p, means how, std::uint64_t seed) {
  world w(p.parties);
  history all(p.parties);
  const auto one = [&](unsigned i) { all[i] = party(w, p, i, seed, how).run(); };
  if (how == means::threads) {
    std::vector<std::thread> others;
    for (unsigned i = 0; i < p.parties; ++i) others.emplace_back(one, i);
    for (auto& t : others) t.join();
  } else {
    std::vector<bide::task<void>> others;
    for (unsigned i = 0; i < p.parties; ++i) others.push_back(bide::spawn(one, i));
    for (auto& t : others) t.get();
  }
  for (const int n : w.counters) all.push_back("counted " + std::to_string(n));
  return all;
}

}  // namespace

history play(const program& p, means how, unsigned workers, std::uint64_t seed) {
  if (how == means::threads) return among(p, how, seed);
  history all;
  bide::run([&] { all = among(p, how, seed); }, workers ? bide::options{.workers = workers} : bide::options{.seed = seed});
  return all;
}

}  // namespace random_programs
