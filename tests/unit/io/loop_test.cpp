#include "lib/io/loop.hpp"

#include <doctest/doctest.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <time.h>

#include <chrono>
#include <thread>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/sys/features.hpp"
#include "support/descriptors.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::base::now;
using bide::io::readiness;
using bide::io::watcher;
using bide::sys::raw;

namespace {

constexpr std::int64_t millisecond = bide::base::second / 1000;

// A loop on the calling thread, and what it was told.
class heard final : public bide::io::loop::listener {
 public:
  heard() {
    CHECK(loop.open(*this, bell) == 0);
  }
  ~heard() { loop.close(); }

  void watch(watcher& w, int fd, readiness r) {
    loop.initialise(w, fd, r);
    loop.start(w);
  }
  // What one look finds.
  std::vector<watcher*> look() {
    ready.clear();
    loop.poll();
    return ready;
  }

  void on_ready(watcher& w) noexcept override { ready.push_back(&w); }
  void on_refused(int fd, int error) noexcept override { refused.emplace_back(fd, error); }
  bool wants_urgent(int) noexcept override { return urgent; }
  void on_look() noexcept override {}
  void on_seen(int, std::uint32_t) noexcept override {}

  std::vector<watcher*> ready;
  std::vector<std::pair<int, int>> refused;
  bool urgent = false;
  fd bell{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  bide::io::loop loop;
};

std::int64_t cpu_time() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * bide::base::second + t.tv_nsec;
}

}  // namespace

TEST_SUITE("io/loop") {
  TEST_CASE("a look tells of what is ready, again and again, and waits for nothing") {
    heard h;
    const ends e = socket_pair();
    watcher in, out;
    h.watch(in, e.ours, readiness::readable);
    h.watch(out, e.ours, readiness::writable);
    CHECK(h.look() == std::vector{&out});
    write_text(e.theirs, "x");
    CHECK(h.look().size() == 2);
    fill_up(e.ours);
    CHECK(h.look() == std::vector{&in});
    CHECK(h.look() == std::vector{&in});
    read_some(e.ours);
    CHECK(h.look().empty());
    drain(e.theirs);
    CHECK(h.look() == std::vector{&out});
  }

  TEST_CASE("of a watcher that is stopped nothing is told until it is started again") {
    heard h;
    const ends e = socket_pair();
    watcher in;
    h.watch(in, e.ours, readiness::readable);
    write_text(e.theirs, "x");
    CHECK(h.look() == std::vector{&in});
    CHECK(h.loop.started(in));
    h.loop.stop(in);
    CHECK_FALSE(h.loop.started(in));
    CHECK(h.look().empty());
    h.loop.start(in);
    CHECK(h.look() == std::vector{&in});
  }

  TEST_CASE("a number that has got another owner is watched for it once it is initialised anew") {
    heard h;
    ends e = socket_pair();
    watcher in;
    h.watch(in, e.ours, readiness::readable);
    CHECK(h.look().empty());
    // Another owner between two looks, which libev would not notice by a stop and a start.
    h.loop.unwatch(e.ours);
    h.loop.stop(in);
    const ends p = pipe_ends();
    CHECK(raw(SYS_dup2, +p.ours, +e.ours) == e.ours);
    h.watch(in, e.ours, readiness::readable);
    CHECK(h.look().empty());
    write_text(p.theirs, "x");
    CHECK(h.look() == std::vector{&in});
  }

  TEST_CASE("a sleep ends at its time, not before, and not at libev's next millisecond") {
    heard h;
    std::int64_t least = bide::base::second;
    for (int round = 0; round < 50; ++round) {
      const std::int64_t until = now() + 100'000;
      h.loop.sleep(until);
      const std::int64_t late = now() - until;
      CHECK(late >= 0);
      least = std::min(least, late);
    }
    // select(2) and poll(2) sleep to the nanosecond as well; a kernel without epoll_pwait2 to the millisecond.
    if (bide::sys::features().epoll_pwait2 || !h.loop.sees_urgent()) CHECK(least < millisecond / 2);
  }

  TEST_CASE("without epoll_pwait2 a sleep is rounded up") {
    const bool before = std::exchange(bide::sys::features().epoll_pwait2, false);
    {
      heard h;
      for (const std::int64_t time : {1L, 100'000L, 1'100'000L}) {
        const std::int64_t until = now() + time;
        h.loop.sleep(until);
        CHECK(now() >= until);
      }
    }
    bide::sys::features().epoll_pwait2 = before;
  }

  TEST_CASE("a sleep ends by what becomes ready, and costs no time of the processor") {
    heard h;
    const ends e = socket_pair();
    watcher in;
    h.watch(in, e.ours, readiness::readable);
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      raw(SYS_write, +e.theirs, "x", 1);
    });
    const std::int64_t began = now(), worked = cpu_time();
    while (h.ready.empty()) h.loop.sleep(bide::base::never);
    CHECK(now() - began >= 40 * millisecond);
    CHECK(cpu_time() - worked < 20 * millisecond);
    CHECK(h.ready == std::vector{&in});
    later.join();
  }

  TEST_CASE("the bell ends a sleep, once for each ring") {
    heard h;
    const std::uint64_t one = 1;
    raw(SYS_write, +h.bell, &one, sizeof one);
    h.loop.sleep(bide::base::never);
    const std::int64_t until = now() + 5 * millisecond;
    h.loop.sleep(until);
    CHECK(now() >= until);
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      raw(SYS_write, +h.bell, &one, sizeof one);
    });
    h.loop.sleep(bide::base::never);
    later.join();
    CHECK(h.ready.empty());
  }

  TEST_CASE("a closed descriptor's watcher hears of it, or its listener") {
    heard h;
    ends e = socket_pair();
    const int closed = e.ours;
    e.ours.close();
    watcher in;
    h.watch(in, closed, readiness::readable);
    h.look();
    CHECK(h.ready.size() + h.refused.size() >= 1);
    if (h.loop.sees_urgent()) CHECK(h.refused == std::vector{std::pair{closed, -EBADF}});
    h.loop.sleep(now() + 1'000'000);  // and it does not stumble over it later
  }

  TEST_CASE("a regular file is always ready, on every back end") {
    heard h;
    const fd file(raw(SYS_memfd_create, "file", 0));
    watcher in;
    h.watch(in, file, readiness::readable);
    for (int round = 0; round < 3; ++round) {
      h.look();
      if (!h.ready.empty()) break;  // of what epoll refuses libev tells at its next look
    }
    CHECK(h.ready == std::vector{&in});
    CHECK(h.refused.empty());
  }

  TEST_CASE("priority data is told of to who wants it, where the back end can") {
    heard h;
    unsigned short port = 0;
    const fd listens = listener(port);
    const fd ours(raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
    sockaddr_in at{AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {}};
    REQUIRE(raw(SYS_connect, +ours, &at, sizeof at) == 0);
    const fd theirs(raw(SYS_accept, +listens, nullptr, nullptr));
    h.urgent = true;
    watcher in;
    h.watch(in, ours, readiness::readable);
    CHECK(h.look().empty());
    CHECK(raw(SYS_sendto, +theirs, "!", 1, MSG_OOB, nullptr, 0) == 1);
    h.loop.sleep(now() + 20 * millisecond);
    CHECK(h.ready.empty() == !h.loop.sees_urgent());
  }

  TEST_CASE("closing it leaves no descriptor open, and so does opening it anew in between") {
    const int before = open_descriptors();
    {
      heard h;
      CHECK(h.loop.open(h, h.bell) == 0);
      CHECK(open_descriptors() >= before + 1);
      const ends e = socket_pair();
      watcher out;
      h.watch(out, e.ours, readiness::writable);
      CHECK(h.look() == std::vector{&out});
    }
    CHECK(open_descriptors() == before);
  }
}
