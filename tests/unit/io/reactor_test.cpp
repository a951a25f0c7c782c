#include "lib/io/reactor.hpp"

#include <doctest/doctest.h>
#include <errno.h>
#include <sys/epoll.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/clock.hpp"
#include "support/descriptors.hpp"
#include "support/refusal.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using bide::base::never;
using bide::base::now;
using bide::io::readiness;
using bide::sys::raw;

// libev's calls are counted on their way to the seam: see the build file.
extern "C" {
int __real_bide_ev_epoll_ctl(int, int, int, epoll_event*);
int __wrap_bide_ev_epoll_ctl(int, int, int, epoll_event*);
}

namespace {

std::atomic<int> epoll_ctls{0};

bide::io::reactor& mine() { return *bide::core::this_worker()->reactor; }

long wait_for(int fd, readiness which, std::int64_t until = never) { return mine().wait(fd, which, "a test", until); }

bide::task<long> waits(int fd, readiness which = readiness::readable) {
  return bide::spawn([=] { return wait_for(fd, which); });
}

template <int error>
void watching_refused() {
  bide::run([] {
    bide::sleep_for(std::chrono::milliseconds(1));
    if (!refuse(SYS_epoll_ctl, error, EPOLL_CTL_ADD)) _exit(77);  // on the worker's own thread
    const ends e = socket_pair();
    EXPECT(wait_for(e.ours, readiness::readable, now() + bide::base::second) == (mine().sees_urgent() ? -error : -ETIME));
    char room[1];
    if (mine().sees_urgent()) EXPECT(make_call(SYS_read, e.ours, room, 1) == -error);
    // What need not wait goes on.
    EXPECT(write_text(e.theirs, "x") == 1);
    EXPECT(make_call(SYS_read, e.ours, room, 1) == 1);
    bide::sleep_for(std::chrono::milliseconds(1));
  });
}

const scene no_memory{"watching without memory", watching_refused<ENOMEM>};
const scene no_more_watches{"watching beyond max_user_watches", watching_refused<ENOSPC>};

}  // namespace

int __wrap_bide_ev_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  epoll_ctls.fetch_add(1);
  return __real_bide_ev_epoll_ctl(epoll, operation, fd, event);
}

TEST_SUITE("io/reactor") {
  TEST_CASE("a wait ends when the descriptor is ready, now or later") {
    on_workers([] {
      const ends e = socket_pair();
      CHECK(wait_for(e.ours, readiness::writable) == 0);
      auto reads = bide::spawn([&] {
        const long answer = wait_for(e.ours, readiness::readable);
        return std::pair{answer, mine().waiting()};
      });
      until_parked(1);
      write_text(e.theirs, "x");
      CHECK(reads.get() == std::pair{0L, 0u});
    });
  }

  TEST_CASE("a wait ends at its time, by a cancel, or by the close of its descriptor") {
    on_workers([] {
      ends e = socket_pair();
      const std::int64_t until = now() + 1'000'000;
      CHECK(wait_for(e.ours, readiness::readable, until) == -ETIME);
      CHECK(now() >= until);
      auto cancelled = waits(e.ours), closed = waits(e.ours);
      until_parked(2);
      cancelled.cancel();
      CHECK(cancelled.get() == -ECANCELED);
      CHECK_FALSE(closed.done());
      e.ours.close();
      CHECK(closed.get() == -EBADF);
    });
  }

  TEST_CASE("who reads and who writes one descriptor are told each of their own") {
    on_workers([] {
      const ends e = socket_pair();
      fill_up(e.ours);
      auto reads = waits(e.ours), writes = waits(e.ours, readiness::writable);
      until_parked(2);
      write_text(e.theirs, "x");
      CHECK(reads.get() == 0);
      until_parked(1);
      CHECK_FALSE(writes.done());
      drain(e.theirs);
      CHECK(writes.get() == 0);
    });
  }

  TEST_CASE("one event wakes everybody who waits for it, on every worker") {
    on_workers([] {
      const ends e = socket_pair();
      std::vector<bide::task<long>> all;
      for (int i = 0; i < 40; ++i) all.push_back(waits(e.ours));
      until_parked(40);
      write_text(e.theirs, "x");
      for (auto& t : all) CHECK(t.get() == 0);
    });
  }

  TEST_CASE("a close ends all waits, on every worker, and the number's next owner is watched anew") {
    on_workers([] {
      ends e = socket_pair();
      const int number = e.ours;
      for (int round = 0; round < 20; ++round) {
        std::vector<bide::task<long>> all;
        for (int i = 0; i < 8; ++i) all.push_back(waits(number));
        until_parked(8);
        ends next = round % 2 ? socket_pair() : pipe_ends();
        CHECK(make_call(SYS_dup2, next.ours, number) == number);
        for (auto& t : all) CHECK(t.get() == -EBADF);
        auto reads = waits(number);
        until_parked(1);
        CHECK_FALSE(reads.done());
        write_text(next.theirs, "x");
        CHECK(reads.get() == 0);
        CHECK(read_some(number) == "x");
        e.theirs = std::move(next.theirs);  // the number's peer from now on
      }
    });
  }

  TEST_CASE("a close that no door saw is noticed, late") {
    on_workers([] {
      ends e = socket_pair();
      auto reads = bide::spawn([&] {
        char room[1];
        return make_call(SYS_read, e.ours, room, 1);
      });
      until_parked(1);
      raw(SYS_close, +e.ours);
      CHECK(reads.get() == -EBADF);
      e.ours.let_go();
    });
  }

  TEST_CASE("in the steady state there is no epoll_ctl") {
    // On one worker, whose steps are the same each time: among several a fiber may find data that its loop hears of later.
    in_runtime([] {
      const ends e = socket_pair();
      constexpr int rounds = 200;
      auto echoes = bide::spawn([&] {
        for (int i = 0; i <= rounds; ++i) write_text(e.theirs, read_some(e.theirs));
      });
      const auto ask = [&] {
        write_text(e.ours, "ping");
        CHECK(read_some(e.ours) == "ping");
      };
      ask();  // both are watched from here on
      const int before = epoll_ctls;
      for (int i = 0; i < rounds; ++i) ask();
      CHECK(epoll_ctls == before);
      echoes.join();
    });
  }

  TEST_CASE("a watcher is stopped by an event that nobody waits for, and started again by who comes") {
    on_workers([] {
      const ends e = socket_pair();
      auto reads = waits(e.ours);
      until_parked(1);
      write_text(e.theirs, "x");
      CHECK(reads.get() == 0);
      // Ready all the time and nobody cares: sleeping in the loop must be possible.
      bide::sleep_for(std::chrono::milliseconds(5));
      CHECK(waits(e.ours).get() == 0);
    });
  }

  TEST_CASE("a nudge has those look again who wait for readiness") {
    on_workers([] {
      const ends e = socket_pair();
      std::atomic<bool> woken{false};
      auto& home = mine();
      auto reads = bide::spawn([&] {
        const bool here = &mine() == &home;
        if (!here) return 0L;  // another worker's reactor knows nothing of it
        const long answer = wait_for(e.ours, readiness::readable);
        woken = true;
        return answer;
      });
      until_all_parked();
      CHECK_FALSE(woken);
      home.nudge(e.ours);
      home.nudge(e.theirs);  // of which nothing is known
      CHECK(reads.get() == 0);
    });
  }

  TEST_CASE("a number that is closed already is refused or ready to fail, not waited for") {
    on_workers([] {
      ends e = socket_pair();
      const int number = e.ours;
      raw(SYS_close, e.ours.let_go());
      const long answer = wait_for(number, readiness::readable, now() + bide::base::second);
      CHECK((answer == 0 || answer == -EBADF));
    });
  }

  TEST_CASE("what the kernel has no room to watch ends its wait with the kernel's error") {
    for (const scene* s : {&no_memory, &no_more_watches}) {
      const ending e = s->play();
      SKIP_IF(e.exited(77), "the kernel has no seccomp");
      CAPTURE(e.text);
      CHECK(e.exited(0));
    }
  }
}
