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

}  // namespace

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
      for (const descriptor& d : descriptors()) {
        if (!d.is(c.needs)) continue;
        to.push_back({call.name, c.name, d.name, [=, &d, go = call.go](actor& me) {
          tell(me, d, c, false, [&](int fd) { return go(fd, bad, limit); });
        }});
      }
    }
  }
}

}  // namespace differential
