// No call ever changes a descriptor's flags: seen by a second process that holds the same open file descriptions, one half
// of them by inheritance, the other half by SCM_RIGHTS, and looks at them all the time.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bide/run.hpp>

#include <cstring>
#include <new>

#include "things.hpp"

using namespace differential;

namespace {

// What the watching process tells the watched one.
struct sightings {
  std::atomic<bool> stop;
  std::atomic<unsigned long> rounds;   // times it has looked at every descriptor
  std::atomic<unsigned long> changes;  // times a descriptor's flags were not those of before
  std::atomic<int> first_changed;      // which one
};

// A process that looks at the flags of `watched` until it is told to stop.
class watcher {
 public:
  explicit watcher(const std::vector<int>& watched) : seen_(share()) {
    int both[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both), "socketpair");
    ends wire{fd(both[0]), fd(both[1])};
    process_ = fork();
    must(process_, "fork");
    if (process_ == 0) watch(watched, std::move(wire.theirs));
    for (std::size_t i = 0; i < watched.size(); i += 2) pass(wire.ours, watched[i]);
    while (seen_->rounds == 0) moment();
  }
  ~watcher() {
    seen_->stop = true;
    waitpid(process_, nullptr, 0);
    munmap(seen_, sizeof *seen_);
  }
  watcher(const watcher&) = delete;
  watcher& operator=(const watcher&) = delete;

  const sightings& seen() const { return *seen_; }
  // Waits until it has looked at everything once more.
  void look() const {
    for (const unsigned long before = seen_->rounds; seen_->rounds < before + 2;) moment();
  }

 private:
  static sightings* share() {
    void* room = mmap(nullptr, sizeof(sightings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) must(-1, "mmap");
    return ::new (room) sightings{};
  }

  static void pass(int wire, int what) {
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof what)] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof what);
    memcpy(CMSG_DATA(head), &what, sizeof what);
    must(sendmsg(wire, &message, 0), "sendmsg");
  }

  static int take(int wire) {
    char byte;
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(wire, &message, 0) != 1) _exit(1);
    int got;
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
    return got;
  }

  [[noreturn]] void watch(std::vector<int> watched, fd wire) {
    for (std::size_t i = 0; i < watched.size(); i += 2) watched[i] = take(wire);
    std::vector<int> before;
    for (const int one : watched) before.push_back(fcntl(one, F_GETFL));
    while (!seen_->stop && getppid() != 1) {
      for (std::size_t i = 0; i < watched.size(); ++i) {
        const int now = fcntl(watched[i], F_GETFL);
        if (now == before[i]) continue;
        if (seen_->changes++ == 0) seen_->first_changed = static_cast<int>(i);
        before[i] = now;
      }
      ++seen_->rounds;
    }
    _exit(0);
  }

  sightings* seen_;
  pid_t process_ = -1;
};

// Waits in every call of every family on every kind of descriptor, again and again.
struct exercise {
  ends pipe = pipe_pair(), fifo = fifo_pair(), pty = pty_pair(), stream = stream_pair(), tcp = tcp_pair(),
       datagram = datagram_pair(), udp = udp_pair(), big_pipe = pipe_pair(), big_stream = stream_pair();
  listener at = tcp_listener();
  fd count{must(eventfd(0, EFD_CLOEXEC), "eventfd")};
  fd timer{must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create")};
  fd set{must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")};

  exercise() {
    epoll_event want{};
    want.events = EPOLLIN;
    must(epoll_ctl(set, EPOLL_CTL_ADD, stream.ours, &want), "epoll_ctl");
  }

  std::vector<int> all() const {
    std::vector<int> every;
    for (const ends* e : {&pipe, &fifo, &pty, &stream, &tcp, &datagram, &udp, &big_pipe, &big_stream}) {
      every.push_back(e->ours);
      every.push_back(e->theirs);
    }
    for (const fd* one : {&at.socket, &count, &timer, &set}) every.push_back(*one);
    return every;
  }

  // One round of waits by `me`, each ended by `peer`. Returns how many calls came back as they should.
  int wait_everywhere() {
    char room[64];
    int well = 0;
    for (ends* e : {&pipe, &fifo, &pty, &stream, &tcp, &datagram, &udp}) well += read(e->ours, room, 5) == 5;
    for (ends* e : {&stream, &tcp, &datagram, &udp}) well += recv(e->ours, room, 5, 0) == 5;
    well += recv(tcp.ours, room, 10, MSG_WAITALL) == 10;
    std::uint64_t value;
    well += read(count, &value, sizeof value) == 8;
    const itimerspec soon{{}, {0, 2'000'000}};
    timerfd_settime(timer, 0, &soon, nullptr);
    well += read(timer, &value, sizeof value) == 8;
    pollfd one{pipe.ours, POLLIN, 0};
    well += poll(&one, 1, 2) == 0;
    epoll_event got;
    well += epoll_wait(set, &got, 1, 2) == 0;
    fd_set to_read;
    FD_ZERO(&to_read);
    FD_SET(tcp.ours, &to_read);
    timeval limit{0, 2000};
    well += select(tcp.ours + 1, &to_read, nullptr, nullptr, &limit) == 0;
    well += fd(accept(at.socket, nullptr, nullptr)) >= 0;
    const std::string big = pattern(300'000);
    well += write(big_pipe.theirs, big.data(), big.size()) == 300'000;
    well += send(big_stream.theirs, big.data(), big.size(), 0) == 300'000;
    return well;
  }
  static constexpr int calls = 20;

  void answer(actor& peer, actor& first) {
    const auto say = [&](const fd& to, const char* what) {
      peer.until_waiting(first);
      must(write(to, what, strlen(what)), "write");
    };
    for (ends* e : {&pipe, &fifo, &pty, &stream, &tcp, &datagram, &udp}) say(e->theirs, "hello");
    for (ends* e : {&stream, &tcp, &datagram, &udp}) say(e->theirs, "hello");
    say(tcp.theirs, "hello");
    say(tcp.theirs, "again");
    const std::uint64_t one = 1;
    peer.until_waiting(first);
    must(write(count, &one, sizeof one), "write");
    moment(8ms);
    const fd socket = tcp_socket();
    must(connect(socket, at.name(), sizeof at.address), "connect");
    read_all(big_pipe.ours, 300'000);
    read_all(big_stream.ours, 300'000);
  }
};

void check(unsigned workers) {
  alarm(60);  // nothing here is played in a process of its own: a call that never ends must end this one
  exercise everything;
  const watcher other(everything.all());
  auto* room = static_cast<transcript*>(
      mmap(nullptr, sizeof(transcript), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  REQUIRE(room != MAP_FAILED);
  int well = 0;
  constexpr int rounds = 10;
  bide::run(
      [&] {
        actor me(means::fibers, *::new (room) transcript{}, "first");
        actor& peer = me.start("peer", [&](actor& peer) {
          for (int i = 0; i < rounds; ++i) everything.answer(peer, me);
        });
        me.call("everything", [&] {
          for (int i = 0; i < rounds; ++i) well += everything.wait_everywhere();
          return 0;
        });
        me.join(peer);
      },
      {.workers = workers});
  munmap(room, sizeof(transcript));
  CHECK(well == rounds * exercise::calls);
  other.look();
  CHECK(other.seen().rounds > 100);
  INFO("the descriptor that changed first: ", other.seen().first_changed.load());
  CHECK(other.seen().changes == 0);

  // The watcher would have seen it.
  set_nonblocking(everything.pipe.ours);
  other.look();
  CHECK(other.seen().changes == 1);
  alarm(0);
}

}  // namespace

TEST_SUITE("differential/flags") {
  TEST_CASE("no call changes a descriptor's flags, as another process sees them") {
    for (const unsigned workers : {1u, 2u}) {
      CAPTURE(workers);
      check(workers);
    }
  }
}
