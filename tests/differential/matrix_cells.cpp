#include "matrix_cells.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstring>

#include "things.hpp"

namespace differential {

namespace {

enum trait : unsigned { socket_kind = 1, stream = 2, tcp = 4, two_ends = 8, fills = 16, counts = 32 };

struct descriptor {
  std::string name;
  unsigned traits;
  ends (*make)();
  void (*say)(int theirs);  // makes the other end readable

  bool is(unsigned all) const { return (traits & all) == all; }
};

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

const descriptor descriptors[] = {
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

// A call that transfers; `flags` only where it takes them.
struct transfer {
  std::string name;
  bool sockets_only;
  long (*go)(int fd, char* room, std::size_t size, int flags);
};

long by_message(long (*go)(int, msghdr&, int), int fd, char* room, std::size_t size, int flags) {
  iovec part{room, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  return go(fd, message, flags);
}
long by_messages(int (*go)(int, mmsghdr*, int), int fd, char* room, std::size_t size, int flags) {
  iovec part{room, size};
  mmsghdr message{};
  message.msg_hdr.msg_iov = &part;
  message.msg_hdr.msg_iovlen = 1;
  const long n = go(fd, &message, flags);
  return n == 1 ? static_cast<long>(message.msg_len) : n;
}

const transfer readers[] = {
    {"read", false, [](int fd, char* room, std::size_t size, int) -> long { return read(fd, room, size); }},
    {"readv", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return readv(fd, &part, 1);
     }},
    {"preadv2", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return preadv2(fd, &part, 1, -1, 0);
     }},
    {"recv", true, [](int fd, char* room, std::size_t size, int flags) -> long { return recv(fd, room, size, flags); }},
    {"recvfrom", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       sockaddr_storage from;
       socklen_t length = sizeof from;
       return recvfrom(fd, room, size, flags, reinterpret_cast<sockaddr*>(&from), &length);
     }},
    {"recvmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_message([](int f, msghdr& m, int g) -> long { return recvmsg(f, &m, g); }, fd, room, size, flags);
     }},
    {"recvmmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_messages([](int f, mmsghdr* m, int g) { return recvmmsg(f, m, 1, g, nullptr); }, fd, room, size, flags);
     }},
};

const transfer writers[] = {
    {"write", false, [](int fd, char* room, std::size_t size, int) -> long { return write(fd, room, size); }},
    {"writev", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return writev(fd, &part, 1);
     }},
    {"pwritev2", false,
     [](int fd, char* room, std::size_t size, int) -> long {
       const iovec part{room, size};
       return pwritev2(fd, &part, 1, -1, 0);
     }},
    {"send", true, [](int fd, char* room, std::size_t size, int flags) -> long { return send(fd, room, size, flags); }},
    {"sendto", true,
     [](int fd, char* room, std::size_t size, int flags) -> long { return sendto(fd, room, size, flags, nullptr, 0); }},
    {"sendmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_message([](int f, msghdr& m, int g) -> long { return sendmsg(f, &m, g); }, fd, room, size, flags);
     }},
    {"sendmmsg", true,
     [](int fd, char* room, std::size_t size, int flags) -> long {
       return by_messages([](int f, mmsghdr* m, int g) { return sendmmsg(f, m, 1, g); }, fd, room, size, flags);
     }},
};

// What somebody else sees of both ends afterwards.
void note_rest(actor& me, const ends& e) {
  int left = -1;
  if (e.ours >= 0) ioctl(e.ours, FIONREAD, &left);
  pollfd both[] = {{e.ours, POLLIN, 0}, {e.theirs, POLLIN, 0}};
  poll(both, 2, 0);
  me.note("left", left);
  me.note("ours", poll_bits(both[0].revents));
  me.note("theirs", poll_bits(both[1].revents));
}

// What a condition is made of: before the call, and by another actor once the call waits.
struct condition {
  std::string name;
  unsigned needs = 0;
  bool takes_flags = false;
  int flags = 0;
  void (*before)(const descriptor&, ends&) = nullptr;
  void (*meanwhile)(const descriptor&, ends&) = nullptr;
  std::size_t size = 8;
  char* room = nullptr;   // in place of a good one
  int fd = -2;            // in place of the descriptor
  milliseconds time{0};
  int signal_flags = -1;  // a signal comes, with a handler of these flags
  bool cancels = false;   // who makes the call is cancelled in it, and then it could be done
};

void close_with_reset(ends& e) {
  const linger at_once{1, 0};
  setsockopt(e.theirs, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  e.theirs.close();
}
const auto say = [](const descriptor& d, ends& e) { d.say(e.theirs); };
// The same, and it is there: a pty passes bytes on by itself, on a busy machine a while later.
const auto has_said = [](const descriptor& d, ends& e) {
  d.say(e.theirs);
  pollfd there{e.ours, POLLIN, 0};
  if (std::string_view(d.name) == "pty") must(poll(&there, 1, 1000), "poll");
};
// For who may still wait, or be gone.
void help(const descriptor& d, ends& e) {
  try {
    d.say(e.theirs);
  } catch (const broken_scenario&) {
  }
}

std::vector<condition> reading() {
  using d = const descriptor&;
  const auto leave = [](d, ends& e) { e.theirs.close(); };
  return {
      {.name = "there", .before = has_said},
      {.name = "waits", .meanwhile = say},
      {.name = "O_NONBLOCK", .before = [](d, ends& e) { set_nonblocking(e.ours); }},
      {.name = "MSG_DONTWAIT", .takes_flags = true, .flags = MSG_DONTWAIT},
      {.name = "MSG_PEEK", .takes_flags = true, .flags = MSG_PEEK, .meanwhile = say},
      {.name = "MSG_WAITALL", .takes_flags = true, .flags = MSG_WAITALL,
       .meanwhile = [](d k, ends& e) { k.say(e.theirs), moment(), k.say(e.theirs); }},
      {.name = "SO_RCVTIMEO", .needs = socket_kind, .before = [](d, ends& e) { set_timeout(e.ours, SO_RCVTIMEO, 60ms); },
       .time = 60ms},
      {.name = "zero length", .before = has_said, .size = 0},
      {.name = "bad pointer", .before = has_said, .room = static_cast<char*>(bad_address())},
      {.name = "bad pointer, waits", .meanwhile = say, .room = static_cast<char*>(bad_address())},
      {.name = "bad fd", .fd = -1},
      {.name = "wrong end", .needs = two_ends, .before = [](d, ends& e) { std::swap(e.ours, e.theirs), set_nonblocking(e.ours); }},
      {.name = "more asked than there", .before = has_said, .size = 64},
      {.name = "less asked than there", .before = has_said, .size = 2},
      {.name = "closed by another", .needs = two_ends,
       .meanwhile = [](d k, ends& e) { e.ours.close(), moment(20ms), help(k, e); }},
      {.name = "peer gone", .needs = stream | two_ends, .before = leave},
      {.name = "peer goes", .needs = stream | two_ends, .meanwhile = leave},
      {.name = "peer shuts down", .needs = socket_kind | stream, .meanwhile = [](d, ends& e) { shutdown(e.theirs, SHUT_WR); }},
      {.name = "shut down by another", .needs = socket_kind | stream, .meanwhile = [](d, ends& e) { shutdown(e.ours, SHUT_RD); }},
      {.name = "reset", .needs = tcp, .meanwhile = [](d, ends& e) { close_with_reset(e); }},
      {.name = "was reset", .needs = tcp, .before = [](d, ends& e) { close_with_reset(e), moment(20ms); }},
      {.name = "signal", .meanwhile = say, .signal_flags = 0},
      {.name = "cancelled", .meanwhile = say, .cancels = true},
      {.name = "signal, SA_RESTART", .meanwhile = say, .signal_flags = SA_RESTART},
  };
}

std::vector<condition> writing() {
  using d = const descriptor&;
  const auto full = [](d k, ends& e) {
    while (fill(e.ours) && k.is(tcp)) moment(50ms);  // what is acknowledged late makes room once more
  };
  const auto drain = [](d k, ends& e) {
    if (k.is(socket_kind)) empty(e.theirs);
    else read_all(e.theirs, 65'536);
  };
  const auto leave = [](d, ends& e) { e.theirs.close(); };
  return {
      {.name = "room"},
      {.name = "waits", .needs = fills, .before = full, .meanwhile = drain},
      {.name = "O_NONBLOCK", .needs = fills, .before = [](d, ends& e) { fill(e.ours), set_nonblocking(e.ours); }},
      {.name = "MSG_DONTWAIT", .needs = fills, .takes_flags = true, .flags = MSG_DONTWAIT, .before = full},
      {.name = "SO_SNDTIMEO", .needs = fills | socket_kind,
       .before = [](d, ends& e) { fill(e.ours), set_timeout(e.ours, SO_SNDTIMEO, 60ms); }, .time = 60ms},
      {.name = "zero length", .size = 0},
      {.name = "bad pointer", .room = static_cast<char*>(bad_address())},
      {.name = "bad fd", .fd = -1},
      {.name = "more than fits", .needs = fills | stream, .meanwhile = [](d, ends& e) { read_all(e.theirs, 3'000'000); },
       .size = 3'000'000},
      {.name = "closed by another", .needs = fills | stream, .before = full,
       .meanwhile = [](d k, ends& e) {
         e.ours.close(), moment(20ms);
         if (k.is(socket_kind)) empty(e.theirs);
         else read_all(e.theirs, 65'536);
       }},
      {.name = "peer gone", .needs = two_ends | fills, .before = leave},
      {.name = "peer goes", .needs = two_ends | fills, .before = full, .meanwhile = leave},
      {.name = "shut down", .needs = socket_kind | stream, .before = [](d, ends& e) { shutdown(e.ours, SHUT_WR); }},
      {.name = "shut down by another", .needs = socket_kind | stream, .before = full,
       .meanwhile = [](d, ends& e) { shutdown(e.ours, SHUT_WR); }},
      {.name = "was reset", .needs = tcp, .before = [](d, ends& e) { close_with_reset(e), moment(20ms); }},
      {.name = "signal", .needs = fills, .before = full, .meanwhile = drain, .signal_flags = 0},
      {.name = "signal, SA_RESTART", .needs = fills, .before = full, .meanwhile = drain, .signal_flags = SA_RESTART},
      {.name = "cancelled", .needs = fills, .before = full, .meanwhile = drain, .cancels = true},
  };
}

// Another actor does what the condition says once `me` waits; of a signal, first that.
actor* start_other(actor& me, const descriptor& d, ends& e, const condition& c, const counting_handler* handler) {
  if (!c.meanwhile) return nullptr;
  return &me.start("other", [&, handler](actor& other) {
    other.until_waiting(me);
    if (handler) {
      kill(getpid(), SIGUSR1);
      other.until([&] { return handler->count() > 0; });
      if (c.signal_flags != SA_RESTART) return;
      other.until_waiting(me);
    }
    c.meanwhile(d, e);
  });
}

// `go` is made on the descriptor with the condition's arguments.
template <class Go>
void tell(actor& me, const descriptor& d, const condition& c, bool writes, Go go) {
  const counting_handler no_pipe(SIGPIPE, 0);
  ends e = d.make();
  if (writes) std::swap(e.ours, e.theirs);  // `ours` is what writes
  if (c.before) c.before(d, e);
  if (c.cancels) {
    cancel_and_look(me, [&] { return go(e.ours); }, [&] { c.meanwhile(d, e), moment(10ms); });  // a pty passes bytes on by itself
    return note_rest(me, e);
  }
  std::unique_ptr<counting_handler> handler;
  if (c.signal_flags >= 0) handler = std::make_unique<counting_handler>(SIGUSR1, c.signal_flags);
  actor* const other = start_other(me, d, e, c, handler.get());
  const int number = c.fd == -2 ? static_cast<int>(e.ours) : c.fd;
  if (c.time.count()) me.call_for(c.time, "call", [&] { return go(number); });
  else me.call("call", [&] { return go(number); });
  if (other) me.join(*other);
  // How much of it a drain met that ran beside it is chance.
  if (writes && other && d.is(socket_kind) && e.theirs >= 0) empty(e.theirs);
  me.note("SIGPIPE", no_pipe.count());
  note_rest(me, e);
}

void add_transfers(std::vector<cell>& to, const transfer* calls, std::size_t count, const std::vector<condition>& conditions,
                   bool writes) {
  for (std::size_t i = 0; i < count; ++i) {
    for (const condition& c : conditions) {
      for (const descriptor& d : descriptors) {
        const transfer& call = calls[i];
        if ((call.sockets_only && !d.is(socket_kind)) || !d.is(c.needs) || (c.takes_flags && !call.sockets_only)) continue;
        if (writes && d.name == "timerfd") continue;
        to.push_back({call.name, c.name, d.name, [=, &d](actor& me) {
          std::string room(std::max<std::size_t>(c.size, 8), 0);
          if (writes && d.is(counts)) room[0] = 1;
          long n = -1;
          tell(me, d, c, writes, [&](int fd) { return n = call.go(fd, c.room ? c.room : room.data(), c.size, c.flags); });
          if (!writes) me.note("bytes", first(room.data(), std::min(n, 64L)));
        }});
      }
    }
  }
}

struct readiness_call {
  std::string name;
  long (*go)(int fd, void* bad, int milliseconds);  // `bad`: in place of where the answer goes
};

long by_select(int fd, void* bad, timeval* limit) {
  fd_set set;
  FD_ZERO(&set);
  if (fd >= 0) FD_SET(fd, &set);
  return select(fd < 0 ? opaque(-1) : fd + 1, bad ? static_cast<fd_set*>(bad) : &set, nullptr, nullptr, limit);
}
long by_epoll(int fd, void* bad, int length, bool with_mask) {
  const differential::fd set(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
  epoll_event event{EPOLLIN | EPOLLRDHUP, {}};
  if (fd >= 0) must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  auto* const to = bad ? static_cast<epoll_event*>(bad) : &event;
  const int on = fd < 0 ? -1 : static_cast<int>(set);
  event.events = 0;
  const int n = with_mask ? epoll_pwait(on, to, 1, length, nullptr) : epoll_wait(on, to, 1, length);
  return n > 0 ? static_cast<long>(event.events) : n;
}

const readiness_call readiness_calls[] = {
    {"poll",
     [](int fd, void* bad, int length) -> long {
       pollfd p{fd < 0 ? 900 : fd, POLLIN | POLLRDHUP, 0};
       const int n = poll(bad ? static_cast<pollfd*>(bad) : &p, 1, length);
       return n > 0 ? p.revents : n;
     }},
    {"ppoll",
     [](int fd, void* bad, int length) -> long {
       pollfd p{fd < 0 ? 900 : fd, POLLIN | POLLRDHUP, 0};
       const timespec limit{length / 1000, length % 1000 * 1'000'000};
       const int n = ppoll(bad ? static_cast<pollfd*>(bad) : &p, 1, length < 0 ? nullptr : &limit, nullptr);
       return n > 0 ? p.revents : n;
     }},
    {"select",
     [](int fd, void* bad, int length) -> long {
       timeval limit{length / 1000, length % 1000 * 1000};
       return by_select(fd, bad, length < 0 ? nullptr : &limit);
     }},
    {"epoll_wait", [](int fd, void* bad, int length) { return by_epoll(fd, bad, length, false); }},
    {"epoll_pwait", [](int fd, void* bad, int length) { return by_epoll(fd, bad, length, true); }},
};

void add_readiness(std::vector<cell>& to) {
  for (const readiness_call& call : readiness_calls) {
    for (condition c : reading()) {
      if (c.takes_flags || c.name == "O_NONBLOCK" || c.name == "zero length" || c.name.find("asked") != c.name.npos) continue;
      if (c.name == "closed by another" || c.name == "wrong end" || c.name == "bad pointer, waits") continue;
      int limit = -1;
      if (c.name == "SO_RCVTIMEO") {
        limit = 60;
        c.name = "timeout";
        c.needs = 0;
        c.before = nullptr;
      }
      void* const bad = c.room;
      for (const descriptor& d : descriptors) {
        if (!d.is(c.needs)) continue;
        to.push_back({call.name, c.name, d.name, [=, &d, go = call.go](actor& me) {
          tell(me, d, c, false, [&](int fd) { return go(fd, bad, limit); });
        }});
      }
    }
  }
}

}  // namespace

std::vector<cell> matrix_cells() {
  std::vector<cell> all;
  add_transfers(all, readers, std::size(readers), reading(), false);
  add_transfers(all, writers, std::size(writers), writing(), true);
  add_readiness(all);
  add_waits(all);
  return all;
}

}  // namespace differential
