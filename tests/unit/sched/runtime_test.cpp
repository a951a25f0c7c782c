#include "lib/sched/runtime.hpp"

#include <doctest/doctest.h>
#include <errno.h>

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/fiber/park.hpp"
#include "support/descriptors.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using namespace bide::core;
using std::chrono::hours;
using std::chrono::milliseconds;

namespace {

runtime& mine() { return *this_worker()->runtime; }

// Says where the next fiber goes if the workers have so many, whatever they have.
unsigned choice(std::array<unsigned, 4> loads, unsigned caller, prefer how, unsigned sleeper = most_workers - 1) {
  runtime& rt = mine();
  // The others have nothing to do. Nobody posts meanwhile, so nobody's ring is lost.
  for (worker* w : {rt.workers[0], rt.workers[1], rt.workers[2], rt.workers[3]}) {
    while (w != this_worker() && !w->asleep) std::this_thread::yield();
    w->asleep = w == rt.workers[sleeper];
  }
  std::array<unsigned, 4> added{};
  for (unsigned i = 0; i < 4; ++i) {
    added[i] = loads[i] + 10 - rt.workers[i]->live;
    rt.workers[i]->incoming += added[i];
  }
  const worker_core& found = rt.least_loaded(*rt.workers[caller], how);
  for (unsigned i = 0; i < 4; ++i) {
    rt.workers[i]->incoming -= added[i];
    rt.workers[i]->asleep = rt.workers[i] != this_worker();
  }
  return found.index - rt.workers[0]->index;
}

template <unsigned workers>
void all_wait_for_nothing() {
  bide::mutex m, other;
  bide::semaphore s;
  bide::condition_variable c;
  bide::wait_group g(1);
  int unwound = 0, error = 0;
  struct counted {
    int& count;
    ~counted() { ++count; }
  };
  try {
    bide::run([&] {
      std::vector<bide::task<void>> all;
      m.lock();
      all.push_back(bide::spawn({.name = "of the mutex"}, [&] { const counted end{unwound}; m.lock(); }));
      all.push_back(bide::spawn({.name = "of the semaphore"}, [&] { const counted end{unwound}; s.acquire(); }));
      all.push_back(bide::spawn({.name = "of the condition"}, [&] {
        const counted end{unwound};
        std::unique_lock hold(other);
        c.wait(hold);
      }));
      all.push_back(bide::spawn({.name = "of the group"}, [&] { const counted end{unwound}; g.wait(); }));
      const counted end{unwound};
      for (auto& t : all) t.join();
    }, {.workers = workers});
  } catch (const std::system_error& e) {
    error = e.code().value();
    fprintf(stderr, "%s\n", e.what());
  }
  EXPECT(error == EDEADLK);
  EXPECT(unwound == 5);
}

const scene stuck_alone{"stuck with one worker", all_wait_for_nothing<1>};
const scene stuck_two{"stuck with two workers", all_wait_for_nothing<2>};
const scene stuck_four{"stuck with four workers", all_wait_for_nothing<4>};

}  // namespace

TEST_SUITE("sched/runtime") {
  TEST_CASE("a worker is found by its number while its runtime is there, and a runtime is counted") {
    CHECK(runtimes() == 0);
    on_workers([] {
      CHECK(runtimes() == 1);
      for (unsigned i = 0; i < mine().count; ++i) {
        worker* w = mine().workers[i];
        CHECK(worker_at(w->index) == w);
        CHECK(w->runtime == &mine());
      }
    });
    for (unsigned i = 0; i < most_workers; ++i) CHECK(worker_at(i) == nullptr);
    CHECK(runtimes() == 0);
  }

  TEST_CASE("a fiber goes to the worker with the fewest, home unless another has clearly fewer") {
    in_runtime([] {
      CHECK(choice({5, 5, 5, 5}, 2, prefer::balance) == 2);
      CHECK(choice({5, 5, 4, 5}, 0, prefer::balance) == 2);
      CHECK(choice({5, 3, 4, 5}, 0, prefer::balance) == 1);
      CHECK(choice({0, 3, 4, 5}, 3, prefer::balance) == 0);
      CHECK(choice({5, 5, 5, 5}, 2, prefer::balance, 3) == 3);
      CHECK(choice({5, 5, 5, 6}, 2, prefer::balance, 3) == 2);
      CHECK(choice({5, 5, 5, 5}, 2, prefer::home, 3) == 2);
      CHECK(choice({100, 99, 99, 99}, 0, prefer::home) == 0);
      CHECK(choice({100, 99, 50, 99}, 0, prefer::home) == 2);
      CHECK(choice({100, 99, 50, 99}, 2, prefer::home) == 2);
    }, {.workers = 4});
  }

  TEST_CASE("it ends when its last fiber has, on whichever worker, and no sooner") {
    for (const unsigned workers : {1u, 2u, 4u}) {
      CAPTURE(workers);
      std::atomic<int> ended{0};
      in_runtime([&] {
        for (int i = 0; i < 20; ++i) {
          bide::spawn([&, i] {
            try {
              bide::sleep_for(hours(1));
            } catch (const bide::cancelled&) {
              // Whoever is cancelled may take its time.
              for (int rest = 0; rest < i; ++rest) bide::yield();
              bide::run([] {});
              ++ended;
            }
          });
        }
        until_parked(20);
      }, {.workers = workers});
      CHECK(ended == 20);
    }
  }

  TEST_CASE("when all wait and nothing could wake one, it says who waits for what, and cancels them") {
    SKIP_IF(sanitized, "a sanitizer's own threads may come and go");
    for (const scene* s : {&stuck_alone, &stuck_two, &stuck_four}) {
      const ending e = s->play();
      CAPTURE(e.text);
      CHECK(e.exited(0));
      CHECK(e.times("every fiber is parked and nothing is left that could wake one") == 1);
      for (const char* words : {"'main'", "waits for the end of fiber", "'of the mutex'", "waits for a mutex",
                                "'of the semaphore'", "waits for a semaphore", "'of the condition'",
                                "waits for a condition variable", "'of the group'", "waits for a wait_group"})
        CHECK_MESSAGE(e.says(words), words);
    }
  }

  TEST_CASE("what may still come is waited for: a thread, an offload, a descriptor, a time") {
    on_workers([] {
      bide::semaphore s;
      std::thread later([&] {
        std::this_thread::sleep_for(milliseconds(60));
        s.release();
      });
      s.acquire();
      later.join();
      bide::offload([] { std::this_thread::sleep_for(milliseconds(60)); });
      const ends e = socket_pair();
      std::thread writer([&] {
        std::this_thread::sleep_for(milliseconds(60));
        bide::sys::raw(SYS_write, +e.theirs, "x", 1);
      });
      CHECK(read_some(e.ours) == "x");
      writer.join();
      bide::sleep_for(milliseconds(60));
    });
  }
}
