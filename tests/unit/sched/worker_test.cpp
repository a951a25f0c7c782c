#include "lib/sched/worker.hpp"

#include <doctest/doctest.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/runtime.hpp"
#include "support/descriptors.hpp"
#include "support/refusal.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using namespace bide::core;
using bide::base::now;
using std::chrono::hours;
using std::chrono::milliseconds;

namespace {

worker& mine() { return static_cast<worker&>(*this_worker()); }

std::int64_t cpu_time() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * bide::base::second + t.tv_nsec;
}

struct letter : message {
  letter() {
    deliver = [](message& m) noexcept { static_cast<letter&>(m).arrived = true; };
  }
  std::atomic<bool> arrived{false};
};

// What run() fails with where the kernel refuses a call, and that nothing is left open then.
template <int error>
void refused(long nr, long argument = -1) {
  const int before = open_descriptors();
  if (!refuse(nr, error, argument)) _exit(77);
  int got = 0;
  std::string text;
  try {
    bide::run([] {}, {.workers = 2});
  } catch (const std::system_error& e) {
    got = e.code().value();
    text = e.what();
  }
  fprintf(stderr, "%d %s\n", got, text.c_str());
  EXPECT(got == error);
  EXPECT(open_descriptors() == before);
}

const scene no_bell{"no descriptor for a bell", [] { refused<EMFILE>(SYS_eventfd2); }};
const scene no_bell_memory{"no memory for a bell", [] { refused<ENOMEM>(SYS_eventfd2); }};
const scene no_epoll{"no descriptor for an epoll", [] { refused<EMFILE>(SYS_epoll_create1); }};
const scene no_epoll_memory{"no memory for an epoll", [] { refused<ENOMEM>(SYS_epoll_create1); }};
const scene no_watch{"no room to watch a bell", [] { refused<ENOSPC>(SYS_epoll_ctl, EPOLL_CTL_ADD); }};
const scene no_map{"no memory for a map", [] { refused<ENOMEM>(SYS_mmap); }};
const scene no_back_end{"no back end", [] {
  try {
    bide::run([] {});
    EXPECT(!"it ran");
  } catch (const std::system_error& e) {
    fprintf(stderr, "%s\n", e.what());
    EXPECT(e.code().value() == EINVAL);
  }
}};

}  // namespace

TEST_SUITE("sched/worker") {
  TEST_CASE("a worker asleep hears at once what another thread posts, whatever it sleeps for") {
    on_workers([] {
      const ends e = socket_pair();
      auto reads = bide::spawn([&] { return read_some(e.ours); });
      auto sleeps = bide::spawn([] { bide::sleep_for(hours(1)); });
      until_parked(2);
      worker& here = mine();
      std::atomic<bool> over{false};
      letter l;
      bide::semaphore arrived;
      std::thread other([&] {
        while (!here.asleep) std::this_thread::yield();
        CHECK(post(here, l));
        while (!l.arrived) std::this_thread::yield();
        arrived.release();
      });
      arrived.acquire();
      other.join();
      sleeps.cancel();
      write_text(e.theirs, "x");
      CHECK(reads.get() == "x");
    });
  }

  TEST_CASE("a worker that waits sleeps, whatever for") {
    on_workers([] {
      const ends e = socket_pair();
      auto reads = bide::spawn([&] { return read_some(e.ours); });
      const std::int64_t began = now(), worked = cpu_time();
      auto sleeps = bide::spawn([] { bide::sleep_for(milliseconds(200)); });
      sleeps.join();
      CHECK(now() - began >= 200'000'000);
      CHECK(cpu_time() - worked < 100'000'000);
      write_text(e.theirs, "x");
      reads.join();
    });
  }

  TEST_CASE("a message to a worker that has ended is refused") {
    worker* ended = nullptr;
    in_runtime([&] { ended = &mine(); });
    letter l;
    CHECK_FALSE(post(*ended, l));
    CHECK_FALSE(l.arrived);
  }

  TEST_CASE("cancelling all of a worker's fibers leaves those of the others alone") {
    in_runtime([] {
      std::atomic<int> ended[2] = {};
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 8; ++i) {
        all.push_back(bide::spawn([&] {
          const unsigned where = here();
          try {
            bide::sleep_for(hours(1));
          } catch (const bide::cancelled&) {
          }
          ++ended[where];
        }));
      }
      until_parked(8);
      const unsigned there = mine().runtime->workers[1]->live;
      CHECK(there > 0);
      run_at(*mine().runtime->workers[1], [](worker_core& w, void*) noexcept { static_cast<worker&>(w).cancel_all(); },
             nullptr);
      until([&] { return ended[1] == static_cast<int>(there); });
      CHECK(ended[0] == 0);
      for (auto& t : all) t.cancel();
      for (auto& t : all) t.join();
      CHECK(ended[0] + ended[1] == 8);
    }, {.workers = 2});
  }

  TEST_CASE("fibers are counted while they live, on the worker where they are at home") {
    on_workers([] {
      runtime& rt = *mine().runtime;
      const auto sum = [&] {
        unsigned live = 0;
        for (unsigned i = 0; i < rt.count; ++i) live += rt.workers[i]->live + rt.workers[i]->incoming;
        return live;
      };
      CHECK(sum() == 1);
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 10; ++i) all.push_back(bide::spawn([] { bide::sleep_for(hours(1)); }));
      CHECK(sum() == 11);
      until_parked(10);
      for (auto& t : all) t.cancel();
      for (auto& t : all) t.join();
      until([&] { return sum() == 1; });
    });
  }

  TEST_CASE("what the kernel refuses to a worker that opens is said with what to do, and nothing stays open") {
    const auto ends_well = [](const scene& s, const char* advice, std::initializer_list<const char*> environment) {
      const ending e = s.play(environment);
      if (e.exited(77)) {
        fprintf(stderr, "skipped: the kernel has no seccomp\n");
        return;
      }
      CAPTURE(e.text);
      CHECK(e.exited(0));
      CHECK(e.says(advice));
    };
    ends_well(no_bell, "ulimit -n", {});
    ends_well(no_bell_memory, "no memory", {});
    ends_well(no_epoll, "ulimit -n", {"LIBEV_FLAGS=4"});
    ends_well(no_epoll_memory, "no memory", {"LIBEV_FLAGS=4"});
    ends_well(no_watch, "max_user_watches", {"LIBEV_FLAGS=4"});
    if (!sanitized) ends_well(no_map, "no memory", {});
    ends_well(no_back_end, "LIBEV_FLAGS", {"LIBEV_FLAGS=64"});
  }
}
