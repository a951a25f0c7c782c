#include "support.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <threads.h>

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <thread>
#include <vector>

using namespace api;

namespace {

// What the fibers of a program did, in order, and when by their clock.
class history {
 public:
  void note(const std::string& what) {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    text_ += what + '@' + std::to_string(t.tv_sec * 1'000'000'000 + t.tv_nsec) + ' ';
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void listen_and_answer(int listener, int clients, history& h) {
  for (int i = 0; i < clients; ++i) {
    const int fd = accept(listener, nullptr, nullptr);
    bide::spawn([fd, &h] {
      char byte;
      while (read(fd, &byte, 1) == 1) {
        h.note(std::string("served ") + byte);
        write(fd, &byte, 1);
      }
      close(fd);
    });
  }
}

#ifdef __SANITIZE_THREAD__  // which waits for libc's condition variables past every door
using a_mutex = bide::mutex;
using a_condition = bide::condition_variable;
#else
using a_mutex = std::mutex;
using a_condition = std::condition_variable;
#endif

// Mutexes, channels, sockets over loopback, socketpairs, sleeps, timeouts and a condition variable, all in one.
std::string course_of(std::uint64_t seed) {
  history h;
  bide::run([&] {
    bide::group all;
    bide::mutex door;
    a_mutex lock;
    a_condition changed;
    int level = 0;
    bide::channel<int> numbers(2);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&at), size) == 0);
    REQUIRE(listen(listener, 16) == 0);
    getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
    constexpr int parties = 5;
    all.spawn([&] { listen_and_answer(listener, parties, h); });
    for (int i = 0; i < parties; ++i) {
      all.spawn([&, i] {
        const std::string me = std::to_string(i);
        {
          const std::lock_guard hold(door);
          h.note("locked " + me);
          usleep(static_cast<useconds_t>(1000 * (i % 3)));
        }
        numbers.send(i);
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
        char byte = static_cast<char>('a' + i);
        for (int round = 0; round < 3; ++round) {
          write(fd, &byte, 1);
          CHECK(read(fd, &byte, 1) == 1);
          h.note("answered " + me);
        }
        close(fd);
        const std::lock_guard hold(lock);
        ++level;
        changed.notify_all();
      });
      all.spawn([&, i] {
        h.note("got " + std::to_string(numbers.receive().value()) + " at " + std::to_string(i));
        int both[2];
        socketpair(AF_UNIX, SOCK_STREAM, 0, both);
        pollfd p{both[0], POLLIN, 0};
        CHECK(poll(&p, 1, 10 * (i + 1)) == 0);
        h.note("expired " + std::to_string(i));
        close(both[0]);
        close(both[1]);
      });
    }
    all.spawn([&] {
      std::unique_lock hold(lock);
      changed.wait(hold, [&] { return level == parties; });
      h.note("all");
    });
    all.wait();
    close(listener);
  }, {.seed = seed});
  return h.text();
}

// Two fibers each look whether the seat is free, and take it after a yield between. Returns how many sit on it.
int sit_down(std::uint64_t seed) {
  int sitting = 0;
  bide::run([&] {
    bool taken = false;
    bide::group all;
    for (int i = 0; i < 2; ++i) {
      all.spawn([&, i] {
        for (int walk = 0; walk < 3 + 4 * i; ++walk) bide::yield();
        if (taken) return;
        bide::yield();
        taken = true;
        ++sitting;
      });
    }
    all.wait();
  }, {.seed = seed});
  return sitting;
}

}  // namespace

TEST_SUITE("api/seed") {
  TEST_CASE("the same seed gives the same course, time and all") {
    for (const std::uint64_t seed : {1u, 2u, 77u}) {
      CAPTURE(seed);
      const std::string first = course_of(seed);
      CHECK(first.size() > 500);
      for (int again = 0; again < 5; ++again) CHECK(course_of(seed) == first);
    }
  }

  TEST_CASE("different seeds give different courses") {
    std::set<std::string> courses;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) courses.insert(course_of(seed));
    CHECK(courses.size() == 20);
  }

  TEST_CASE("a race that hardly ever happens is found by a seed and happens with it each time") {
    CHECK(bide::run([] { return 0; }) == 0);
    std::vector<std::uint64_t> found;
    for (std::uint64_t seed = 1; seed <= 200; ++seed)
      if (sit_down(seed) == 2) found.push_back(seed);
    CHECK(found.size() > 0);
    CHECK(found.size() < 200);
    for (const std::uint64_t seed : found) CHECK(sit_down(seed) == 2);
  }

  TEST_CASE("an hour's sleep takes no time, and an hour has passed by every clock of the fiber's") {
    const auto began = std::chrono::steady_clock::now();
    bide::run([] {
      const auto steady = std::chrono::steady_clock::now();
      const auto system = std::chrono::system_clock::now();
      const time_t seconds = time(nullptr);
      timeval day;
      gettimeofday(&day, nullptr);
      CHECK(day.tv_sec == seconds);
      CHECK(sleep(3600) == 0);
      bide::sleep_for(1h);
      std::this_thread::sleep_for(1h);
      CHECK(std::chrono::steady_clock::now() - steady >= 3h);
      CHECK(std::chrono::steady_clock::now() - steady < 3h + 1s);
      CHECK(std::chrono::system_clock::now() - system >= 3h);
      CHECK(time(nullptr) - seconds >= 3 * 3600);
      CHECK(bide::deadline::after(0s).ns() > 3 * 3'600'000'000'000);
      timespec work;
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &work);
      CHECK(work.tv_sec < 3600);
    }, {.seed = 1});
    CHECK(std::chrono::steady_clock::now() - began < 5s);
  }

  TEST_CASE("timeouts expire in their order, hours apart, beside who waits for a descriptor") {
    const auto began = std::chrono::steady_clock::now();
    std::string order;
    bide::run([&] {
      int both[2];
      socketpair(AF_UNIX, SOCK_STREAM, 0, both);
      bide::group all;
      all.spawn([&] {
        char byte;
        CHECK(read(both[0], &byte, 1) == 1);
        order += byte;
      });
      for (const int hours : {5, 2, 4, 3})
        all.spawn([&, hours] {
          sleep(static_cast<unsigned>(hours * 3600));
          order += std::to_string(hours);
          if (hours == 3) CHECK(write(both[1], "x", 1) == 1);
        });
      std::timed_mutex held;
      held.lock();
      all.spawn([&] {
        CHECK(!held.try_lock_for(std::chrono::hours(1)));
        order += '1';
      });
      all.wait();
      close(both[0]);
      close(both[1]);
    }, {.seed = 5});
    CHECK(order == "123x45");
    CHECK(std::chrono::steady_clock::now() - began < 5s);
  }

  TEST_CASE("a lock of libc's goes to who waits when its holder lets go, however long that took") {
    using clock = std::chrono::steady_clock;
    const auto began = clock::now();
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      bide::run([] {
        const auto passes_on = [](const char* what, auto lock, auto unlock) {
          clock::time_point let_go;
          auto holder = bide::spawn([&] {
            lock();
            sleep(600);
            let_go = clock::now();
            unlock();
          });
          bide::sleep_for(1s);
          auto waiter = bide::spawn([&] {
            lock();
            const auto late = clock::now() - let_go;
            unlock();
            return late;
          });
          INFO(std::string(what));
          CHECK(waiter.get() < 1ms);
          holder.join();
        };
        std::mutex plain;
        std::recursive_mutex recursive;
        std::shared_mutex shared;
        mtx_t c11;
        mtx_init(&c11, mtx_plain);
        passes_on("mutex", [&] { plain.lock(); }, [&] { plain.unlock(); });
        passes_on("recursive_mutex", [&] { recursive.lock(); }, [&] { recursive.unlock(); });
        passes_on("shared_mutex", [&] { shared.lock(); }, [&] { shared.unlock(); });
        passes_on("mtx_t", [&] { mtx_lock(&c11); }, [&] { mtx_unlock(&c11); });
        std::once_flag once;
        clock::time_point done;
        auto first = bide::spawn([&] { std::call_once(once, [&] { sleep(600), done = clock::now(); }); });
        bide::sleep_for(1s);
        std::call_once(once, [] {});
        CHECK(clock::now() - done < 1ms);
        first.join();
      }, {.seed = seed});
    }
    CHECK(clock::now() - began < 5s);
  }

  TEST_CASE("a limit of hours or months is kept to by every call that has one") {
    bide::run([] {
      int both[2];
      socketpair(AF_UNIX, SOCK_STREAM, 0, both);
      const int set = epoll_create1(EPOLL_CLOEXEC);
      epoll_event in{EPOLLIN, {}};
      epoll_ctl(set, EPOLL_CTL_ADD, both[0], &in);
      const auto lasts = [](std::chrono::seconds length, auto call) {
        const auto began = std::chrono::steady_clock::now();
        call();
        const auto took = std::chrono::steady_clock::now() - began;
        CHECK(took >= length);
        CHECK(took < length + 1s);
      };
      for (const std::chrono::seconds length : {45s, 70s, 2200s, 5000s, 2'000'000s}) {
        CAPTURE(length.count());
        const timeval t{length.count(), 0};
        char byte;
        setsockopt(both[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
        lasts(length, [&] { CHECK(recv(both[0], &byte, 1, 0) == -1); });
        lasts(length, [&] { CHECK(read(both[0], &byte, 1) == -1); });
        lasts(length, [&] {
          fd_set set_of_one;
          FD_ZERO(&set_of_one);
          FD_SET(both[0], &set_of_one);
          timeval left = t;
          CHECK(select(both[0] + 1, &set_of_one, nullptr, nullptr, &left) == 0);
        });
        lasts(length, [&] {
          const timespec left{length.count(), 0};
          CHECK(nanosleep(&left, nullptr) == 0);
        });
        const int ms = static_cast<int>(std::chrono::milliseconds(length).count());
        lasts(length, [&] {
          pollfd one{both[0], POLLIN, 0};
          CHECK(poll(&one, 1, ms) == 0);
        });
        lasts(length, [&] { CHECK(epoll_wait(set, &in, 1, ms) == 0); });
      }
      close(set), close(both[0]), close(both[1]);
    }, {.seed = 3});
  }

  TEST_CASE("who looks at the clock until a time has come gets there, with and without giving way") {
    bide::run([] {
      const auto until = std::chrono::steady_clock::now() + 2ms;
      while (std::chrono::steady_clock::now() < until) bide::yield();
      while (std::chrono::steady_clock::now() < until + 2ms) {
      }
    }, {.seed = 1});
  }

  TEST_CASE("time stands still while a function is offloaded") {
    bide::run([] {
      const auto began = std::chrono::steady_clock::now();
      bool late = false;
      auto other = bide::spawn([&] { bide::sleep_for(1min), late = true; });
      CHECK(bide::offload([] { return usleep(20'000), 7; }) == 7);
      CHECK(!late);
      CHECK(std::chrono::steady_clock::now() - began < 1s);
      other.join();
    }, {.seed = 1});
  }

  TEST_CASE("a deadlock is found, and at once") {
    const ending e = in_child([] {
      try {
        bide::run([] { bide::semaphore(0).acquire(); }, {.seed = 1});
      } catch (const std::system_error& error) {
        _exit(error.code().value() == EDEADLK ? 0 : 1);
      }
      _exit(2);
    });
    CHECK(e.exited(0));
  }

  TEST_CASE("the environment's seed counts where the options have none, and has one worker") {
    const ending e = in_child([] {
      setenv("BIDE_SEED", "12", 1);
      const auto began = std::chrono::steady_clock::now();
      bide::run([] { sleep(3600); }, {.workers = 4});
      if (std::chrono::steady_clock::now() - began > 5s) _exit(1);
      setenv("BIDE_SEED", "many", 1);
      bide::run([] {});
    });
    CHECK(e.exited(0));
    CHECK(e.says("BIDE_SEED=many is no number from 0 to"));
  }

  TEST_CASE("no other runtime is beside a seeded one, and none is stepped") {
    CHECK_THROWS_AS(bide::runtime(bide::stepped, {.seed = 1}), std::system_error);
    bide::runtime other;
    CHECK_THROWS_WITH_AS(bide::run([] {}, {.seed = 1}), doctest::Contains("options::seed"), std::system_error);
    bide::run([] {
      std::thread([] { CHECK_NOTHROW(bide::run([] {})); }).join();
    });
  }

  TEST_CASE("a plain thread that waits beside a seeded runtime waits in its own time") {
    bide::runtime seeded({.seed = 3});
    bide::semaphore never(0);
    const auto began = std::chrono::steady_clock::now();
    CHECK(never.acquire_until(bide::deadline::after(20ms)) == bide::wait_result::expired);
    CHECK(std::chrono::steady_clock::now() - began >= 20ms);
    CHECK(std::chrono::steady_clock::now() - began < 10s);
    CHECK(seeded.spawn([] { return sleep(3600); }).get() == 0);
  }
}
