// What the matrix would notice: cells are played with calls that go wrong in fibers on purpose.
#include <bide/calls.hpp>
#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <string>

#include "apart.hpp"
#include "matrix_cells.hpp"

namespace differential {

namespace {

using wrong = std::function<long(bide::passing_call&)>;

const cell& find(const std::string& call, const std::string& condition, const std::string& kind) {
  static const std::vector<cell> all = matrix_cells();
  const auto found = std::find_if(all.begin(), all.end(), [&](const cell& c) {
    return c.call == call && c.condition == condition && c.kind == kind;
  });
  REQUIRE(found != all.end());
  return *found;
}

// What of a cell whose calls of that number go wrong in fibers differs from the threads'.
std::string difference_of(const cell& c, long number, const wrong& how) {
  const ending threads = run_apart(c.tell, 0);
  const ending fibers = run_apart([&](actor& me) {
    const bide::call_wrapper w(number, how, bide::whose_calls::this_fibers);
    c.tell(me);
  }, 1);
  return show(threads.noted, fibers.noted);
}

long spoil_last_byte(bide::passing_call& c) {
  std::string copy(reinterpret_cast<const char*>(c[1]), static_cast<std::size_t>(c[2]));
  if (!copy.empty()) copy.back() = 'Z';
  c[1] = reinterpret_cast<long>(copy.data());
  return c.go_on();
}
long make_twice(bide::passing_call& c) {
  const long n = c.go_on();
  c.go_on();
  return n;
}
long make_late(bide::passing_call& c) {
  timespec left{0, 400'000'000};
  nanosleep(&left, nullptr);
  return c.go_on();
}

const char* const conditions[] = {"room", "waits"};
const char* const kinds[] = {"tcp", "unix datagram", "unix seqpacket", "pipe", "pty"};

// A writer's cells, as many as there are: a pty isn't filled.
template <class Do>
void each_writer(Do look) {
  for (const char* condition : conditions) {
    for (const char* kind : kinds) {
      const bool is_socket = kind[0] == 't' || kind[0] == 'u';
      if (std::string_view(kind) == "pty" && condition != conditions[0]) continue;
      look(find("write", condition, kind), SYS_write);
      if (is_socket) look(find("send", condition, kind), SYS_sendto);
    }
  }
}

void check_seen(const cell& c, long number, const wrong& how, const std::string& where) {
  const std::string seen = difference_of(c, number, how);
  CHECK_MESSAGE(seen.find("fibers   first: " + where) != seen.npos, c.call, ", ", c.condition, ", ", c.kind, ": ", seen);
}

}  // namespace

TEST_SUITE("differential/cells") {
  TEST_CASE("a byte that is spoilt on its way is seen") {
    each_writer([](const cell& c, long number) { check_seen(c, number, spoil_last_byte, "taken = "); });
  }
  TEST_CASE("a write that is made twice is seen") {
    each_writer([](const cell& c, long number) {
      check_seen(c, number, make_twice, "taken = ");
    });
  }
  TEST_CASE("a call that comes late is seen, whether it waits for another or not") {
    check_seen(find("write", "room", "pipe"), SYS_write, make_late, "call came back = late");
    check_seen(find("read", "waits", "pipe"), SYS_read, make_late, "call came back = late");
    check_seen(find("recv", "SO_RCVTIMEO", "tcp"), SYS_recvfrom, make_late, "call came back = long after its time");
    check_seen(find("accept", "there", "tcp"), SYS_accept, make_late, "call came back = late");
    check_seen(find("poll", "timeout", "eventfd"), SYS_poll, make_late, "call came back = long after its time");
  }
}

}  // namespace differential
