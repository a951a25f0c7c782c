#include "lib/sched/fork.hpp"

#include <doctest/doctest.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "lib/io/fd_table.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/task_count.hpp"
#include "support/descriptors.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/watchdog.hpp"

using namespace unit;
using std::chrono::hours;
using std::chrono::milliseconds;

namespace {

// Descriptors of the process whose names begin so: "anon_inode:[eventpoll]".
int open_of(const std::string& kind) {
  DIR* all = opendir("/proc/self/fd");
  int count = 0;
  while (const dirent* d = readdir(all)) {
    char to[64];
    const ssize_t size = readlinkat(dirfd(all), d->d_name, to, sizeof to);
    count += size > 0 && std::string_view(to, static_cast<std::size_t>(size)).substr(0, kind.size()) == kind;
  }
  closedir(all);
  return count;
}

#define SAY_UNLESS(condition) ((condition) ? 0 : (fprintf(stderr, "in the child: not %s\n", #condition), 1))

// Forks in the calling fiber and gives the number of things that are not as they should be in the child, by f.
template <class F>
int in_child(F f) {
  fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    watch_time(20);
    _exit(f());
  }
  REQUIRE(child > 0);
  const int status = bide::offload([child] {
    int s = -1;
    waitpid(child, &s, 0);
    return s;
  });
  CHECK(WIFEXITED(status));
  return WEXITSTATUS(status);
}

// In the first fiber and in another one, over {1, 2, 4} workers.
template <class F>
void anywhere(F f) {
  on_workers([&] {
    f();
    bide::spawn(f).join();
  });
}

}  // namespace

#define FORKS_WITH_FIBERS SKIP_IF(sanitized, "a sanitizer's state does not follow a fork with fibers")

TEST_SUITE("sched/fork") {
  TEST_CASE("the child has the forking fiber and no other, one thread, and a loop of its own") {
    FORKS_WITH_FIBERS;
    anywhere([] {
      const int epolls = open_of("anon_inode:[eventpoll]");
      auto sleeps = bide::spawn([] { bide::sleep_for(hours(1)); });
      std::atomic<bool> stop{false};
      auto ready = bide::spawn([&] {
        while (!stop) bide::yield();
      });
      const long worker_before = bide::core::this_worker()->index;
      CHECK(in_child([&] {
        return SAY_UNLESS(count_fibers().others == 0) + SAY_UNLESS(bide::sys::count_tasks() == 1) +
               SAY_UNLESS(bide::core::this_worker()->live == 1) + SAY_UNLESS(bide::core::this_worker()->timers.empty()) +
               SAY_UNLESS(bide::core::this_worker()->runtime->count == 1) +
               SAY_UNLESS(bide::core::this_worker()->index == worker_before) +
               SAY_UNLESS(open_of("anon_inode:[eventpoll]") == (epolls ? 1 : 0));
      }) == 0);
      stop = true;
      ready.join();
      sleeps.cancel();
    });
  }

  TEST_CASE("in the child fibers are made, wait for descriptors and times, and offload") {
    FORKS_WITH_FIBERS;
    anywhere([] {
      CHECK(in_child([] {
        const ends e = socket_pair();
        auto reads = bide::spawn([&] { return read_some(e.ours); });
        auto sleeps = bide::spawn([] { bide::sleep_for(milliseconds(1)); });
        bide::offload([] {});
        sleeps.join();
        write_text(e.theirs, "x");
        return SAY_UNLESS(reads.get() == "x");
      }) == 0);
    });
  }

  TEST_CASE("what the child waits for and closes is nothing to the parent") {
    FORKS_WITH_FIBERS;
    anywhere([] {
      ends e = socket_pair();
      auto reads = bide::spawn([&] { return read_some(e.ours); });
      bide::sleep_for(milliseconds(1));
      CHECK(in_child([&] {
        const int ours = e.ours;
        auto later = bide::spawn([&] { bide::sleep_for(milliseconds(1)); });
        later.join();
        return SAY_UNLESS(make_call(SYS_close, ours) == 0);
      }) == 0);
      CHECK_FALSE(reads.done());
      write_text(e.theirs, "x");
      CHECK(reads.get() == "x");
    });
  }

  TEST_CASE("what was remembered of descriptions is remembered in neither process") {
    FORKS_WITH_FIBERS;
    anywhere([] {
      const ends e = socket_pair();
      const auto sole = [&] { return bide::io::facts(e.ours)->is_sole(); };
      CHECK(sole());
      CHECK(in_child([&] {
        // The parent has it as well: what one of them sets the other sees.
        return SAY_UNLESS(!sole()) +
               SAY_UNLESS(bide::sys::raw(SYS_fcntl, +e.ours, F_SETFL, O_RDWR | O_NONBLOCK) == 0);
      }) == 0);
      CHECK_FALSE(sole());
      char room[1];
      CHECK(make_call(SYS_read, e.ours, room, 1) == -EAGAIN);
    });
  }

  TEST_CASE("a child's child, and a child that ends its runtime, do as well") {
    FORKS_WITH_FIBERS;
    on_workers([] {
      CHECK(in_child([] { return in_child([] { return bide::spawn([] { return 0; }).get(); }); }) == 0);
    });
    fflush(nullptr);
    const pid_t parent = getpid();
    pid_t child = 0;
    bide::run([&] { child = fork(); });
    if (getpid() != parent) {
      const bool none = bide::core::runtimes() == 0;
      _exit(none && bide::run([] { return 3; }) == 3 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
}
