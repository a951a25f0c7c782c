// A process that runs out of something while fibers wait: each call has its right answer or an error, nobody hangs,
// and what comes after is served.
#include <doctest/doctest.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "support/descriptors.hpp"
#include "support/refusal.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using namespace std::chrono_literals;

namespace {

constexpr int high = 3000;  // a number whose facts lie in a block of their own

// A reader of a descriptor gets what is written to the other end, or ENOMEM.
bool reads_or_says_so(int ours, int theirs) {
  auto reader = bide::spawn([=] {
    char byte = 0;
    const long n = make_call(SYS_read, ours, &byte, 1);
    return n == 1 ? 0 : -n;
  });
  bide::sleep_for(1ms);
  write_text(theirs, "x");
  const long error = reader.get();
  return error == 0 || error == ENOMEM;
}

void wait_in_many_ways(const ends& e) {
  drain(e.ours);  // what a reader without memory left
  std::vector<pollfd> many(2000, pollfd{-1, POLLIN, 0});
  many.back().fd = e.ours;
  const auto in_time = [](long n) { return n == 0 || n == -ENOMEM; };
  EXPECT(in_time(make_call(SYS_poll, many.data(), many.size(), 5)));
  fd_set in;
  FD_ZERO(&in);
  FD_SET(e.ours, &in);
  timeval limit{0, 5000};
  EXPECT(in_time(make_call(SYS_select, e.ours + 1, &in, 0, 0, &limit)));
  char text[1024] = {};
  std::vector<iovec> parts(1024, iovec{text, 1});
  const long sent = make_call(SYS_writev, e.theirs, parts.data(), parts.size());
  EXPECT(sent == 1024 || sent == -ENOMEM);
  drain(e.ours);
}

// What else a runtime makes room for: stacks, timers, inboxes, threads for calls made elsewhere.
void spawn_until_refused() {
  std::vector<bide::task<void>> all;
  all.reserve(20'000);
  int error = 0;
  while (error == 0 && all.size() < all.capacity()) {
    try {
      all.push_back(bide::spawn([] { bide::sleep_for(1ms); }));
    } catch (const std::system_error& e) {
      error = e.code().value();
    } catch (const std::bad_alloc&) {
      error = ENOMEM;
    }
  }
  EXPECT(error == ENOMEM);
  for (auto& t : all) t.get();
  try {
    EXPECT(bide::offload([] { return 5; }) == 5);
  } catch (const std::system_error& e) {
    EXPECT(e.code().value() == EAGAIN || e.code().value() == ENOMEM);
  }
}

const scene no_maps{"no maps any more", [] {
                      bide::run([] {
                        ends e = socket_pair(), far = socket_pair();
                        const fd number(make_call(SYS_fcntl, far.ours, F_DUPFD_CLOEXEC, high));
                        EXPECT(number >= high);
                        if (!refuse(SYS_mmap, ENOMEM)) _exit(77);
                        EXPECT(reads_or_says_so(e.ours, e.theirs));
                        EXPECT(reads_or_says_so(number, far.theirs));
                        wait_in_many_ways(e);
                        spawn_until_refused();
                        EXPECT(reads_or_says_so(e.ours, e.theirs));
                      });
                    }};

template <int error>
void no_more_descriptors() {
  bide::run([] {
    ends e = socket_pair();
    for (const long nr : {SYS_eventfd2, SYS_epoll_create1, SYS_io_uring_setup, SYS_pidfd_open})
      if (!refuse(nr, error)) _exit(77);
    EXPECT(reads_or_says_so(e.ours, e.theirs));
    wait_in_many_ways(e);
    EXPECT(bide::offload([] { return 5; }) == 5);
    EXPECT(make_call(SYS_epoll_create1, 0) == -error);
    ends more = socket_pair();
    EXPECT(reads_or_says_so(more.ours, more.theirs));
  });
}

const scene no_descriptors{"no descriptors of the kernel's any more", no_more_descriptors<EMFILE>};
const scene no_room{"no memory for descriptors any more", no_more_descriptors<ENOMEM>};

}  // namespace

TEST_SUITE("task/scarcity") {
  TEST_CASE("without memory to map calls answer or say ENOMEM, and fibers go on") {
    SKIP_IF(sanitized, "a sanitizer needs maps of its own");
    const auto end = no_maps.play();
    INFO(end.text);
    SKIP_IF(end.exited(77), "no seccomp");
    CHECK(end.exited(0));
  }

  TEST_CASE("without descriptors for the runtime's own needs fibers go on") {
    for (const scene* which : {&no_descriptors, &no_room}) {
      const auto end = which->play();
      INFO(end.text);
      SKIP_IF(end.exited(77), "no seccomp");
      CHECK(end.exited(0));
    }
  }
}
