// The matrix's calls that wait until a descriptor is ready.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include "matrix_cells.hpp"
#include "matrix_conditions.hpp"

namespace differential {

namespace {

struct readiness_call {
  std::string name;
  long (*go)(int fd, void* bad, int milliseconds);  // `bad`: in place of where the answer goes
  std::vector<meant_line> meant_if_closed{};
};

timespec to_timespec(int length) { return {length / 1000, length % 1000 * 1'000'000L}; }

long by_poll(int fd, void* bad, const std::function<int(pollfd*)>& go) {
  pollfd p{fd < 0 ? 900 : fd, POLLIN | POLLRDHUP, 0};
  const int n = go(bad ? static_cast<pollfd*>(bad) : &p);
  return n > 0 ? p.revents : n;
}
long by_select(int fd, void* bad, const std::function<int(int count, fd_set*)>& go) {
  fd_set set;
  FD_ZERO(&set);
  if (fd >= 0) FD_SET(fd, &set);
  return go(fd < 0 ? opaque(-1) : fd + 1, bad ? static_cast<fd_set*>(bad) : &set);
}
long by_epoll(int fd, void* bad, const std::function<int(int set, epoll_event*)>& go) {
  const differential::fd set(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
  epoll_event event{EPOLLIN | EPOLLRDHUP, {}};
  if (fd >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == -1) return -1;  // a file has no readiness
  event.events = 0;
  const int n = go(fd < 0 ? -1 : static_cast<int>(set), bad ? static_cast<epoll_event*>(bad) : &event);
  return n > 0 ? static_cast<long>(event.events) : n;
}

const meant_line told_at_once{"first: call came back = in time", "first: call came back = before its time"};
const std::vector<meant_line> told_by_poll{told_at_once}, told_by_select{{"first: call -> 1", "first: call -> -1 EBADF"}, told_at_once};

const readiness_call readiness_calls[] = {
    {"poll", [](int fd, void* bad, int length) { return by_poll(fd, bad, [=](pollfd* p) { return poll(p, 1, length); }); },
     told_by_poll},
    {"ppoll",
     [](int fd, void* bad, int length) {
       const timespec limit = to_timespec(length);
       return by_poll(fd, bad, [&](pollfd* p) { return ppoll(p, 1, length < 0 ? nullptr : &limit, nullptr); });
     }, told_by_poll},
    {"select",
     [](int fd, void* bad, int length) {
       timeval limit{length / 1000, length % 1000 * 1000};
       return by_select(fd, bad, [&](int n, fd_set* set) { return select(n, set, nullptr, nullptr, length < 0 ? nullptr : &limit); });
     }, told_by_select},
    {"pselect",
     [](int fd, void* bad, int length) {
       const timespec limit = to_timespec(length);
       return by_select(fd, bad, [&](int n, fd_set* set) {
         return pselect(n, set, nullptr, nullptr, length < 0 ? nullptr : &limit, nullptr);
       });
     }, told_by_select},
    {"epoll_wait",
     [](int fd, void* bad, int length) {
       return by_epoll(fd, bad, [=](int set, epoll_event* to) { return epoll_wait(set, to, 1, length); });
     }},
    {"epoll_pwait",
     [](int fd, void* bad, int length) {
       return by_epoll(fd, bad, [=](int set, epoll_event* to) { return epoll_pwait(set, to, 1, length, nullptr); });
     }},
    {"epoll_pwait2",
     [](int fd, void* bad, int length) {
       const timespec limit = to_timespec(length);
       return by_epoll(fd, bad, [&](int set, epoll_event* to) {
         return epoll_pwait2(set, to, 1, length < 0 ? nullptr : &limit, nullptr);
       });
     }},
};

}  // namespace

void add_readiness(std::vector<cell>& to) {
  for (const readiness_call& call : readiness_calls) {
    for (condition c : reading()) {
      if (c.takes_flags || c.name == "O_NONBLOCK" || c.name == "zero length" || c.name.find("asked") != c.name.npos) continue;
      if (c.name == "wrong end" || c.name == "bad pointer, waits") continue;
      int limit = -1;
      if (c.name == "SO_RCVTIMEO") {
        limit = 60;
        c.name = "timeout";
        c.needs = 0;
        c.before = nullptr;
      }
      // A thread learns of it at its time; from a set it is gone, for a fiber as well.
      const bool is_closed = c.name == "closed by another";
      if (is_closed) {
        limit = 400;
        c.time = milliseconds(limit);
        c.meanwhile = [](const descriptor&, channel& e) { e.ours.close(); };
      }
      void* const bad = c.room;
      for (const descriptor& d : descriptors()) {
        if (!d.is(c.needs)) continue;
        to.push_back({call.name, c.name, d.name, [=, &d, go = call.go](actor& me) {
          tell(me, d, c, false, [&](int fd) { return go(fd, bad, limit); });
        }, is_closed ? call.meant_if_closed : std::vector<meant_line>()});
      }
    }
  }
}

}  // namespace differential
