#include "lib/io/fd_table.hpp"

#include <doctest/doctest.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "lib/sys/raw.hpp"
#include "support/scene.hpp"

using namespace bide::io;
using bide::sys::raw;
using unit::ending;
using unit::scene;

namespace {

// Numbers that no test has as descriptors.
constexpr int far = 600'000, farther = 700'000;

const scene near_the_limit{"own descriptors near the limit", [] {
  // The last quarter of a small limit, and the number as it is where that is full.
  const rlimit low{64, 64};
  EXPECT(setrlimit(RLIMIT_NOFILE, &low) == 0);
  const int first = adopt_own_fd(eventfd(0, 0));
  EXPECT(first >= 48);
  std::vector<int> own;
  for (int i = 0; i < 15; ++i) own.push_back(adopt_own_fd(eventfd(0, 0)));
  const int plain = eventfd(0, 0);
  EXPECT(plain >= 0 && plain < 48);
  EXPECT(adopt_own_fd(plain) == plain);
  EXPECT(is_own_fd(plain));
  for (const int fd : own) close_own_fd(fd);
  close_own_fd(plain);
  EXPECT(!is_own_fd(plain));
}};

}  // namespace

TEST_SUITE("io/fd_table") {
  TEST_CASE("a number has facts from their first use on, up to the largest there can be") {
    CHECK(facts_if_any(far) == nullptr);
    fd_facts* f = facts(far);
    REQUIRE(f);
    CHECK(facts_if_any(far) == f);
    CHECK(facts(far) == f);
    CHECK(f->kind.load() == fd_kind::unknown);
    CHECK_FALSE(f->is_sole());
    CHECK(facts(INT_MAX) != nullptr);
    CHECK(facts_if_any(INT_MAX - 1) != nullptr);
  }

  TEST_CASE("a negative number has none") {
    CHECK(facts(-1) == nullptr);
    CHECK(facts(INT_MIN) == nullptr);
    CHECK(facts_if_any(-1) == nullptr);
    CHECK_FALSE(is_own_fd(-1));
  }

  TEST_CASE("threads that meet at a first use get the same facts") {
    std::atomic<int> ready{0};
    fd_facts* found[4] = {};
    std::vector<std::thread> threads;
    for (auto& f : found) {
      threads.emplace_back([&] {
        ++ready;
        while (ready != 4) std::this_thread::yield();
        f = facts(farther);
      });
    }
    for (auto& t : threads) t.join();
    REQUIRE(found[0]);
    for (const fd_facts* f : found) CHECK(f == found[0]);
  }

  TEST_CASE("one that was made is its description's only holder until it is shared") {
    fd_facts& f = *facts(far);
    fd_made(far);
    CHECK(f.is_sole());
    fd_shared(far);
    CHECK_FALSE(f.is_sole());
    fd_made(far);
    CHECK(f.is_sole());
    all_fds_shared();
    CHECK_FALSE(f.is_sole());
    fd_made(far);
    CHECK(f.is_sole());
  }

  TEST_CASE("with its owner go all facts, and a new generation begins") {
    fd_facts& f = *facts(far);
    fd_made(far);
    f.kind = fd_kind::stream_socket;
    f.asked = f.drained = f.low_water = true;
    const std::uint32_t before = f.generation;
    fd_forget(f);
    CHECK(f.generation != before);
    CHECK(f.kind.load() == fd_kind::unknown);
    CHECK_FALSE(f.asked.load());
    CHECK_FALSE(f.drained.load());
    CHECK_FALSE(f.low_water.load());
    CHECK_FALSE(f.is_sole());
  }

  TEST_CASE("the runtime's own go out of the way of the program's numbers") {
    const int plain = eventfd(0, 0);
    const int own = adopt_own_fd(plain);
    CHECK(own > plain);
    CHECK(fcntl(plain, F_GETFD) == -1);
    CHECK(fcntl(own, F_GETFD) == FD_CLOEXEC);
    CHECK(is_own_fd(own));
    CHECK_FALSE(is_own_fd(plain));
    close_own_fd(own);
    CHECK_FALSE(is_own_fd(own));
    CHECK(fcntl(own, F_GETFD) == -1);
    close_own_fd(-1);  // none
  }

  TEST_CASE("one that is no descriptor is not adopted") {
    CHECK(adopt_own_fd(farther) == -EBADF);
    CHECK_FALSE(is_own_fd(farther));
  }

  TEST_CASE("near a small limit they keep to its last quarter, or stay where they are") {
    CHECK(near_the_limit.play().exited(0));
  }
}
