#include "lib/io/ring.hpp"

#include <doctest/doctest.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <deque>
#include <utility>

#include "lib/fiber/park.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/sys/features.hpp"
#include "support/descriptors.hpp"
#include "support/refusal.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using bide::core::waiter;
using bide::io::ring;
using bide::io::ring_op;

namespace {

ring_op asked(unsigned char opcode, int fd, std::uint32_t flags = 0) {
  ring_op op;
  op.opcode = opcode;
  op.fd = fd;
  op.flags = flags;
  return op;
}

// poll(2) of a descriptor, as a request: it may wait, and moves nothing.
ring_op poll_request(int fd) { return asked(IORING_OP_POLL_ADD, fd, POLLIN); }

// The kernel may finish a request a little later than what it waits for.
void reap_until_done(ring& r, const ring_op& op) {
  while (!op.done) r.reap();
}

template <int error>
void open_refused() {
  if (!refuse(SYS_io_uring_setup, error)) _exit(77);
  ring r;
  const int before = open_descriptors();
  const int answer = r.open();
  EXPECT(answer == -error);
  EXPECT(!r.is_open());
  EXPECT(open_descriptors() == before);
  // What passes may be tried again; what does not, is not.
  EXPECT(bide::sys::features().io_uring == (error == EMFILE || error == ENOMEM));
}

const scene no_descriptor{"a ring without a descriptor", open_refused<EMFILE>};
const scene no_memory{"a ring without memory", open_refused<ENOMEM>};
const scene forbidden{"a ring forbidden", open_refused<EPERM>};
const scene unknown{"a ring unknown", open_refused<ENOSYS>};

}  // namespace

#define NEEDS_RINGS(r)                                                                  \
  SKIP_IF(!bide::sys::features().io_uring || (r).open() != 0, "the kernel takes no requests")

TEST_SUITE("io/ring") {
  TEST_CASE("what need not wait is done when submit returns") {
    ring r;
    NEEDS_RINGS(r);
    ring_op nothing = asked(IORING_OP_NOP, -1);
    nothing.result = -1;
    CHECK(r.submit(nothing) == 0);
    CHECK(nothing.done);
    CHECK(nothing.result == 0);
    r.close();
    CHECK_FALSE(r.is_open());
  }

  TEST_CASE("what waits is done once what it waits for has come, and its waiter is woken") {
    ring r;
    NEEDS_RINGS(r);
    const fd counter(eventfd(0, EFD_CLOEXEC));
    waiter w(waiter::reach::anyone);
    ring_op op = poll_request(counter);
    op.who = &w;
    CHECK(r.submit(op) == 0);
    r.reap();
    CHECK_FALSE(op.done);
    CHECK_FALSE(w.is_decided());
    eventfd_write(counter, 1);
    reap_until_done(r, op);
    CHECK(op.result == POLLIN);
    CHECK(w.is_decided());
    CHECK(w.result() == bide::wait_result::ready);
    r.close();
  }

  TEST_CASE("an error is the result of the request, not of submit") {
    ring r;
    NEEDS_RINGS(r);
    ring_op op = asked(IORING_OP_ACCEPT, 1'000'000);
    CHECK(r.submit(op) == 0);
    reap_until_done(r, op);
    CHECK(op.result == -EBADF);
    r.close();
  }

  TEST_CASE("a cancelled request ends with ECANCELED, one that is done keeps its result") {
    ring r;
    NEEDS_RINGS(r);
    const fd counter(eventfd(0, EFD_CLOEXEC));
    ring_op op = poll_request(counter);
    CHECK(r.submit(op) == 0);
    r.cancel(op);
    reap_until_done(r, op);
    CHECK(op.result == -ECANCELED);
    eventfd_write(counter, 1);
    ring_op second = poll_request(counter);
    CHECK(r.submit(second) == 0);
    reap_until_done(r, second);
    r.cancel(second);
    CHECK(second.result == POLLIN);
    r.close();
  }

  TEST_CASE("more results than the ring has room for are all reaped") {
    ring r;
    NEEDS_RINGS(r);
    constexpr int count = 6000;  // the room is 4096
    const fd counter(eventfd(0, EFD_CLOEXEC));
    std::deque<ring_op> all;
    for (int i = 0; i < count; ++i) {
      all.push_back(poll_request(counter));
      REQUIRE(r.submit(all.back()) == 0);
    }
    eventfd_write(counter, 1);
    for (const ring_op& op : all) reap_until_done(r, op);
    r.close();
  }

  TEST_CASE("its descriptor is one of the runtime's own") {
    ring r;
    NEEDS_RINGS(r);
    CHECK(bide::io::is_own_fd(r.fd()));
    const int number = r.fd();
    r.close();
    CHECK_FALSE(bide::io::is_own_fd(number));
    r.reap();  // of one that isn't open there is nothing to reap
  }

  TEST_CASE("where requests are turned off it does not open") {
    const bool before = std::exchange(bide::sys::features().io_uring, false);
    ring r;
    CHECK(r.open() == -ENOSYS);
    CHECK_FALSE(r.is_open());
    bide::sys::features().io_uring = before;
  }

  TEST_CASE("a kernel that refuses a ring is asked again only where that may pass") {
    SKIP_IF(!bide::sys::features().io_uring, "the kernel takes no requests");
    for (const scene* s : {&no_descriptor, &no_memory, &forbidden, &unknown}) {
      const ending e = s->play();
      SKIP_IF(e.exited(77), "the kernel has no seccomp");
      CAPTURE(e.text);
      CHECK(e.exited(0));
    }
  }
}
