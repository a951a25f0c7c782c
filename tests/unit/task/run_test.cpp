#include <bide/run.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/sched/runtime.hpp"
#include "support/descriptors.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using std::chrono::microseconds;

namespace {

std::string refusal(bide::options how) {
  try {
    bide::run([] {}, how);
  } catch (const std::system_error& e) {
    return e.code() == std::errc::invalid_argument ? e.what() : "another error";
  }
  return "none";
}

bool says(const std::string& text, std::string_view words) { return text.find(words) != text.npos; }

// What run() fails with when so many descriptors are left; 0 if it does not.
int with_descriptors_left(int left) {
  const int next = dup(0), before = open_descriptors() - 1;
  close(next);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit lower{static_cast<rlim_t>(next + left), limit.rlim_max};
  EXPECT(setrlimit(RLIMIT_NOFILE, &lower) == 0);
  int error = 0;
  try {
    bide::run([] { bide::sleep_for(microseconds(10)); }, {.workers = 2});
  } catch (const std::system_error& e) {
    error = e.code().value();
    EXPECT(e.code().category() == std::generic_category());
    EXPECT(says(e.what(), "ulimit -n"));
  }
  EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  EXPECT(open_descriptors() == before);  // nothing left open either way
  return error;
}

const scene no_descriptors{"no descriptors", [] {
  bool failed = false;
  int left = 0;
  for (; left < 40; ++left) {
    const pid_t child = fork();
    if (child == 0) _exit(with_descriptors_left(left) == EMFILE ? 1 : 0);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status));
    EXPECT(WEXITSTATUS(status) <= 1);
    if (WEXITSTATUS(status) == 0) break;
    failed = true;
  }
  EXPECT(failed);
  EXPECT(left > 0);
  EXPECT(left < 40);
}};

const scene no_threads{"no threads", [] {
  // A user of its own, so that the limit counts this process alone.
  if (setuid(12345) != 0) {
    fprintf(stderr, "can't\n");
    return;
  }
  const rlimit limit{1, 1};
  EXPECT(setrlimit(RLIMIT_NPROC, &limit) == 0);
  int sum = 0;
  bide::run([&] {
    std::vector<bide::task<int>> tasks;
    for (int i = 0; i < 10; ++i) {
      tasks.push_back(bide::spawn([i] {
        bide::sleep_for(microseconds(10));
        return i;
      }));
    }
    for (auto& t : tasks) sum += t.get();
    try {
      bide::offload([] {});
      EXPECT(!"a thread was there");
    } catch (const std::system_error& e) {
      EXPECT(e.code().value() == EAGAIN);
    }
  }, {.workers = 4});
  EXPECT(sum == 45);
}};

const scene exit_in_fiber{"exit in a fiber", [] {
  atexit([] { fprintf(stderr, "handlers run\n"); });
  bide::run([] {
    auto parked = bide::spawn([] { bide::sleep_for(std::chrono::hours(1)); });
    auto elsewhere = bide::spawn([] {
      for (;;) bide::yield();
    });
    bide::spawn([] {
      bide::sleep_for(microseconds(100));
      exit(7);
    }).join();
  }, {.workers = 2});
}};

const scene exit_in_main_fiber{"exit in the first fiber", [] {
  bide::run([] {
    const ends e = socket_pair();
    auto parked = bide::spawn([&] { read_some(e.ours); });
    auto waits = bide::spawn([&] { parked.join(); });
    until_parked(2);
    exit(8);
  });
}};

const scene return_with_parked{"return with fibers parked", [] {
  bide::run([] {
    struct says_so {
      ~says_so() { fprintf(stderr, "unwound\n"); }
    };
    for (int i = 0; i < 3; ++i) {
      bide::spawn([] {
        const says_so at_end;
        bide::sleep_for(std::chrono::hours(1));
      });
    }
    until_parked(3);
  });
  fprintf(stderr, "over\n");
}};

}  // namespace

TEST_SUITE("task/run") {
  TEST_CASE("run returns what its function returns and throws what it throws") {
    CHECK(in_runtime([] { return 7; }) == 7);
    in_runtime([] {});
    CHECK(*in_runtime([] { return std::make_unique<int>(3); }) == 3);
    int here = 0;
    int& there = bide::run([&]() -> int& { return here; });
    CHECK(&there == &here);
    CHECK_THROWS_WITH(in_runtime([] { throw std::runtime_error("out of it"); }), "out of it");
    CHECK_THROWS_AS(in_runtime([]() -> int { throw 3; }), int);
  }

  TEST_CASE("it may be called again and again, with other options") {
    for (unsigned i = 0; i < 20; ++i) {
      const unsigned workers = i % 4 + 1;
      CHECK(in_runtime([&] { return bide::spawn([=] { return workers; }).get(); }, {.workers = workers}) == workers);
    }
  }

  TEST_CASE("called in a fiber it runs the function there and then") {
    on_workers([] {
      const auto outer = bide::this_fiber::id();
      CHECK(bide::run([] { return bide::this_fiber::id(); }) == outer);
      CHECK_THROWS_AS(bide::run([] { throw 1; }), int);
      auto inner = bide::spawn([] { return bide::run([] { return bide::spawn([] { return 5; }).get(); }); });
      CHECK(inner.get() == 5);
    });
  }

  TEST_CASE("bad options are refused with what is wrong and what would be right") {
    const leftovers none;
    CHECK(says(refusal({.workers = 0}), "options::workers is 0; it must be 1 to 64"));
    CHECK(says(refusal({.workers = 65}), "options::workers is 65"));
    CHECK(says(refusal({.stack_size = 1024}), "options::stack_size is 1024 bytes; it must be 16 KiB to 1 GiB"));
    CHECK(says(refusal({.stack_size = std::size_t{1} << 40}), "options::stack_size"));
    CHECK(says(refusal({.offload_threads = 0}), "options::offload_threads is 0; it must be 1 to 4096"));
    CHECK(says(refusal({.offload_threads = 5000}), "options::offload_threads is 5000"));
    CHECK(refusal({.workers = 1, .stack_size = 16 * 1024, .offload_threads = 1}) == (sanitized ? refusal({}) : "none"));
  }

  TEST_CASE("nested in a fiber, options are not looked at") {
    in_runtime([] { CHECK(refusal({.workers = 0}) == "none"); });
  }

  TEST_CASE("sixty-four workers, and not one more in the process") {
    in_runtime([] {
      std::string error;
      plain_thread other([&] {
        try {
          bide::run([] {});
        } catch (const std::system_error& e) {
          error = e.what();
        }
      });
      other.join();
      CHECK(says(error, "64 workers are running in this process already"));
    }, {.workers = 64});
  }

  TEST_CASE("fibers still alive at the end are cancelled and joined, so their destructors run") {
    for (const unsigned workers : {1u, 2u, 4u}) {
      CAPTURE(workers);
      std::atomic<int> begun{0}, ended{0};
      in_runtime([&] {
        struct at_end {
          std::atomic<int>& n;
          ~at_end() { ++n; }
        };
        for (int i = 0; i < 20; ++i) {
          bide::spawn([&, i] {
            const at_end guard{ended};
            ++begun;
            // Waits of every kind, and one begun while unwinding.
            struct waits_again {
              ~waits_again() {
                try {
                  bide::sleep_for(std::chrono::hours(1));
                } catch (const bide::cancelled&) {
                }
              }
            } late;
            bide::semaphore never;
            const ends e = socket_pair();
            if (i % 3 == 0) bide::sleep_for(std::chrono::hours(1));
            if (i % 3 == 1) never.acquire();
            char c;
            if (i % 3 == 2) CHECK(make_call(SYS_read, e.ours, &c, 1) == -ECANCELED);
          });
        }
        if (workers > 1) until([&] { return begun == 20; });
      }, {.workers = workers});
      CHECK(begun == 20);
      CHECK(ended == 20);
    }
  }

  TEST_CASE("fibers that are spawned during the end are ended too") {
    std::atomic<int> late{0};
    in_runtime([&] {
      bide::spawn([&] {
        try {
          bide::sleep_for(std::chrono::hours(1));
        } catch (const bide::cancelled&) {
          for (int i = 0; i < 10; ++i) {
            bide::spawn([&] {
              ++late;
              bide::sleep_for(std::chrono::hours(1));
            });
          }
        }
      });
      until_parked(1);
    }, {.workers = 2});
    CHECK(late == 10);
  }

  TEST_CASE("two runtimes run side by side on two threads, and their fibers meet") {
    const leftovers none;
    bide::semaphore a, b;
    const auto player = [](bide::semaphore& mine, bide::semaphore& other) {
      return [&] {
        std::vector<bide::task<void>> tasks;
        for (int i = 0; i < 4; ++i) {
          tasks.push_back(bide::spawn([&] {
            for (int k = 0; k < rounds(200); ++k) {
              other.release();
              mine.acquire();
            }
          }));
        }
        for (auto& t : tasks) t.join();
      };
    };
    std::thread second([&] { bide::run(player(b, a), {.workers = 2}); });
    bide::run(player(a, b), {.workers = 2});
    second.join();
    CHECK_FALSE(a.try_acquire());
    CHECK_FALSE(b.try_acquire());
  }

  TEST_CASE("without descriptors for its loop it fails with EMFILE and leaves none open") {
    const auto end = no_descriptors.play();
    INFO(end.text);
    CHECK(end.exited(0));
  }

  TEST_CASE("without threads fewer workers do, and an offload says EAGAIN") {
    SKIP_IF(sanitized, "a sanitizer's runtime needs threads and its own user");
    const auto end = no_threads.play();
    INFO(end.text);
    SKIP_IF(end.says("can't"), "not the superuser");
    CHECK(end.exited(0));
    CHECK(end.says("only 1 of 4 workers"));
  }

  TEST_CASE("exit() from a fiber ends the process with its code, whatever the others do") {
    const auto end = exit_in_fiber.play();
    INFO(end.text);
    CHECK(end.exited(7));
    CHECK(end.times("handlers run") == 1);
    CHECK(exit_in_main_fiber.play().exited(8));
  }

  TEST_CASE("a return with fibers parked unwinds them first") {
    const auto end = return_with_parked.play();
    CHECK(end.exited(0));
    CHECK(end.times("unwound") == 3);
    CHECK(end.text.rfind("over") > end.text.rfind("unwound"));
  }
}
