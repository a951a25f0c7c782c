#include "support.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

using namespace api;

namespace {

// Waits for a child without holding the worker.
int end_of(pid_t child) {
  return bide::offload([child] {
    int status = -1;
    waitpid(child, &status, 0);
    return status;
  });
}

// That this process has a loop of its own: sleeps, spawns, and moves bytes.
bool serves() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return false;
  auto reader = bide::spawn([&] {
    char room[8];
    return read(ends[0], room, sizeof room);
  });
  usleep(2000);
  const bool written = write(ends[1], "hello", 5) == 5;
  const bool well = written && reader.get() == 5;
  close(ends[0]);
  close(ends[1]);
  return well;
}

// dd sets its input's flags as it is told, and leaves them so.
const char* const setter = "dd iflag=nonblock count=0 status=none";

void by_posix_spawn(int fd) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
  const char* const words[] = {"sh", "-c", setter, nullptr};
  pid_t child = -1;
  CHECK(posix_spawnp(&child, words[0], &actions, nullptr, const_cast<char* const*>(words), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  CHECK(end_of(child) == 0);
}

void by_vfork(int fd) {
  const int flags = fcntl(fd, F_GETFL) | O_NONBLOCK;
  const pid_t child = vfork();
  if (child == 0) _exit(syscall(SYS_fcntl, fd, F_SETFL, flags) != 0);
  CHECK(end_of(child) == 0);
}

std::string command_for(int fd) { return std::string(setter) + " <&" + std::to_string(fd); }

void by_system(int fd) { CHECK(system(("bash -c '" + command_for(fd) + "'").c_str()) == 0); }

void by_popen(int fd) {
  FILE* command = popen(("bash -c '" + command_for(fd) + "'").c_str(), "r");
  REQUIRE(command);
  CHECK(pclose(command) == 0);
}

}  // namespace

TEST_SUITE("api/process") {
  TEST_CASE("what a program does to a descriptor that it inherits counts at once, however it was started") {
    const std::pair<std::string, void (*)(int)> ways[] = {
        {"posix_spawn", by_posix_spawn}, {"vfork", by_vfork}, {"system", by_system}, {"popen", by_popen}};
    bide::run([&] {
      for (const auto& [name, set] : ways) {
        CAPTURE(name);
        // What nobody can have changed is looked at again after a quarter of a second; the best of three, if the machine is busy.
        auto best = std::chrono::steady_clock::duration::max();
        for (int i = 0; i < 3; ++i) {
          int ends[2];
          REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
          char room[8];
          auto writer = bide::spawn([&] { return write(ends[1], "hello", 5); });
          CHECK(read(ends[0], room, sizeof room) == 5);
          CHECK(writer.get() == 5);
          set(ends[0]);
          const auto begin = std::chrono::steady_clock::now();
          CHECK(read(ends[0], room, sizeof room) == -1);
          CHECK(errno == EAGAIN);
          best = std::min(best, std::chrono::steady_clock::now() - begin);
          close(ends[0]);
          close(ends[1]);
        }
        CHECK(best < 200ms);
      }
    });
  }

  TEST_CASE("a fork in the first fiber gives a child with that fiber and a loop of its own") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer's state does not follow a fork with fibers");
      return;
    }
    for (const unsigned workers : {1u, 2u}) {
      bide::run(
          [] {
            auto other = bide::spawn([] { bide::sleep_for(1h); });
            bide::yield();
            const pid_t child = fork();
            if (child == 0) {
              alarm(10);
              _exit(serves() ? 11 : 12);
            }
            CHECK(serves());
            const int status = end_of(child);
            CHECK(WIFEXITED(status));
            CHECK(WEXITSTATUS(status) == 11);
            CHECK(!other.done());
          },
          {.workers = workers});
    }
  }

  TEST_CASE("a fork in another fiber ends its process with that fiber") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer's state does not follow a fork with fibers");
      return;
    }
    bide::run([] {
      auto forker = bide::spawn([]() -> pid_t {
        const pid_t child = fork();
        if (child == 0) {
          alarm(10);
          if (!serves()) _exit(13);
          return 0;  // the last fiber's end is exit(0)
        }
        return child;
      });
      const int status = end_of(forker.get());
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 0);
    });
  }

  TEST_CASE("exit from a fiber ends the process with its status, whoever is parked") {
    for (const unsigned workers : {1u, 2u}) {
      const ending e = in_child([&] {
        bide::run(
            [] {
              bide::spawn([] { bide::sleep_for(1h); });
              bide::spawn([] {
                char c;
                int ends[2];
                if (pipe(ends) == 0) (void)!read(ends[0], &c, 1);
              });
              bide::sleep_for(2ms);
              _exit(42);
            },
            {.workers = workers});
      });
      CHECK(e.exited(42));
      if (sanitized) {
        MESSAGE("skipped in part: at exit LeakSanitizer reports what parked fibers hold");
        continue;
      }
      const ending regular = in_child([&] {
        bide::run(
            [] {
              bide::spawn([] { bide::sleep_for(1h); });
              bide::sleep_for(2ms);
              std::exit(43);
            },
            {.workers = workers});
      });
      CHECK(regular.exited(43));
    }
  }

  TEST_CASE("a child of a plain thread's fork can run a runtime of its own") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer's state does not follow a fork with fibers");
      return;
    }
    bide::run([] {
      const pid_t child = bide::offload([] {
        const pid_t made = fork();
        if (made == 0) {
          alarm(10);
          _exit(bide::run([] { return serves(); }) ? 11 : 12);
        }
        return made;
      });
      const int status = end_of(child);
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 11);
    });
  }

  TEST_CASE("a fork while another worker makes fibers gives a child that can make them too") {
    if (sanitized) {
      MESSAGE("skipped: a sanitizer's state does not follow a fork with fibers");
      return;
    }
    const auto make_many = [] {
      std::vector<bide::task<void>> many;
      for (std::size_t i = 0; i < 48; ++i) many.push_back(bide::spawn({.stack_size = std::size_t{16384} << i % 6}, [] {}));
      for (auto& t : many) t.join();
    };
    bide::run(
        [&] {
          std::atomic<bool> stop = false;
          auto elsewhere = bide::spawn([&] {
            while (!stop) make_many();
          });
          for (int round = 0; round < 30; ++round) {
            const pid_t child = fork();
            if (child == 0) {
              alarm(10);
              make_many();
              _exit(7);
            }
            const int status = end_of(child);
            CHECK(WIFEXITED(status));
            CHECK(WEXITSTATUS(status) == 7);
          }
          stop = true;
          elsewhere.join();
        },
        {.workers = 2});
  }

  // asyncio.to_thread, run_in_executor: a thread of a pool computes, the loop goes on. There a cancel ends the wait and leaves the
  // thread to itself; here the function may use the fiber's stack, so its end is waited for and the cancel is the next wait's.
  TEST_CASE("offload runs beside the fibers, keeps errno apart, and hands on what is thrown") {
    on_workers([] {
      errno = 5;
      const auto start = std::chrono::steady_clock::now();
      bide::wait_group all(8);
      for (int i = 0; i < 8; ++i) {
        bide::spawn([&] {
          bide::offload([] {
            errno = 6;
            std::this_thread::sleep_for(250ms);
          });
          all.done();
        });
      }
      CHECK_THROWS_AS(bide::offload([] { throw 3; }), int);
      all.wait();
      CHECK(errno == 5);
      CHECK(seconds_since(start) < 1.75);  // one after the other: 2 s
    });
  }

  TEST_CASE("a stack's peak grows with what is used of it") {
    bide::run([] {
      const auto shallow = bide::spawn([] { return bide::this_fiber::stack_peak(); }).get();
      const auto deep = bide::spawn({.stack_size = 1 << 20}, [] {
        volatile char room[200'000];
        room[0] = room[199'999] = 1;
        return bide::this_fiber::stack_peak();
      }).get();
      CHECK(shallow >= 4096);
      CHECK(deep >= 200'000);
      CHECK(deep <= (1 << 20));
    });
  }
}
