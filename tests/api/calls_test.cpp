// Wrapped calls, as a program puts them around its own.
#include <doctest/doctest.h>

#include <bide/bide.hpp>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support.hpp"

namespace {

struct channel {
  channel() { REQUIRE(pipe(ends) == 0); }
  ~channel() { close(ends[0]), close(ends[1]); }
  int ends[2];
};

std::string read_some(int fd) {
  char room[16];
  const ssize_t n = read(fd, room, sizeof room);
  return n < 0 ? strerrorname_np(errno) : std::string(room, static_cast<std::size_t>(n));
}

}  // namespace

TEST_SUITE("api/calls") {
  TEST_CASE("a wrapper sees who calls, with what and for how long, and what comes of it") {
    bide::run([] {
      channel c;
      std::vector<std::string> seen;
      bide::call_wrapper w(SYS_read, [&](bide::passing_call& call) {
        const bool asked = call.number() == SYS_read && call[0] == c.ends[0] && call[2] == 16 &&
                           call.fiber() == bide::this_fiber::id();
        const auto began = std::chrono::steady_clock::now();
        const long answer = call.go_on();
        const bool waited = std::chrono::steady_clock::now() - began > std::chrono::milliseconds(20);
        seen.push_back(std::to_string(asked) + std::to_string(waited) + ":" + std::to_string(answer));
        return answer;
      });
      auto peer = bide::spawn([&] {
        usleep(30'000);
        CHECK(write(c.ends[1], "hello", 5) == 5);
      });
      CHECK(read_some(c.ends[0]) == "hello");
      w.remove();
      CHECK(write(c.ends[1], "again", 5) == 5);
      CHECK(read_some(c.ends[0]) == "again");
      CHECK(seen == std::vector<std::string>{"11:5"});
    });
  }

  TEST_CASE("a wrapper refuses, changes, replaces and delays a call") {
    bide::run([] {
      channel c;
      int turn = 0;
      bide::call_wrapper w(SYS_read, [&](bide::passing_call& call) -> long {
        switch (++turn) {
          case 1: return -EINTR;
          case 2: call[2] = 2; return call.go_on();
          case 3: memcpy(reinterpret_cast<void*>(call[1]), "made up", 7); return 7;
          default: usleep(20'000); return call.go_on();
        }
      });
      CHECK(write(c.ends[1], "hello", 5) == 5);
      CHECK(read_some(c.ends[0]) == "EINTR");
      CHECK(read_some(c.ends[0]) == "he");
      CHECK(read_some(c.ends[0]) == "made up");
      const auto began = std::chrono::steady_clock::now();
      CHECK(read_some(c.ends[0]) == "llo");
      CHECK(std::chrono::steady_clock::now() - began >= std::chrono::milliseconds(20));
    });
  }

  TEST_CASE("wrappers lie in one another, the last outermost, and any of them may go") {
    bide::run([] {
      channel c;
      std::string order;
      const auto noting = [&](char letter) {
        return [&order, letter](bide::passing_call& call) {
          order += letter;
          const long answer = call.go_on();
          order += letter;
          return answer;
        };
      };
      bide::call_wrapper a(SYS_write, noting('a')), b(SYS_write, noting('b')), d(SYS_write, noting('c'));
      CHECK(write(c.ends[1], "1", 1) == 1);
      CHECK(order == "cbaabc");
      b.remove();
      order.clear();
      CHECK(write(c.ends[1], "1", 1) == 1);
      CHECK(order == "caac");
    });
  }

  TEST_CASE("a wrapper's own calls are not wrapped, and it may go on twice") {
    bide::run([] {
      channel c;
      int calls = 0;
      bide::call_wrapper w(SYS_write, [&](bide::passing_call& call) {
        ++calls;
        CHECK(write(c.ends[1], "<", 1) == 1);
        call.go_on();
        return call.go_on();
      });
      CHECK(write(c.ends[1], "x", 1) == 1);
      CHECK(calls == 1);
      CHECK(read_some(c.ends[0]) == "<xx");
    });
  }

  TEST_CASE("a fiber's wrapper leaves others' calls alone") {
    bide::run([] {
      channel c;
      int mine = 0;
      bide::call_wrapper w(SYS_write, [&](bide::passing_call& call) { return ++mine, call.go_on(); },
                           bide::whose_calls::this_fibers);
      bide::spawn([&] { CHECK(write(c.ends[1], "1", 1) == 1); }).get();
      CHECK(mine == 0);
      CHECK(write(c.ends[1], "1", 1) == 1);
      CHECK(mine == 1);
    });
  }

  TEST_CASE("a wrapper that goes while a call is in it lives until that has left") {
    bide::run([] {
      channel c;
      auto token = std::make_shared<int>(1);
      const std::weak_ptr<int> alive = token;
      bide::call_wrapper w(SYS_read, [token = std::move(token)](bide::passing_call& call) {
        const long answer = call.go_on();
        return answer + *token;
      });
      auto reader = bide::spawn([&] {
        char room[2];
        CHECK(read(c.ends[0], room, 1) == 2);
      });
      usleep(1000);
      w.remove();
      CHECK_FALSE(alive.expired());
      CHECK(write(c.ends[1], "1", 1) == 1);
      reader.get();
      CHECK(alive.expired());
    });
  }

  TEST_CASE("workers call while wrappers come and go") {
    bide::run([] {
      std::atomic<long> passed = 0;
      std::atomic<bool> done = false;
      std::vector<bide::task<void>> callers;
      for (int i = 0; i < 8; ++i) {
        callers.push_back(bide::spawn([&] {
          channel c;
          while (!done) {
            CHECK(write(c.ends[1], "1", 1) == 1);
            CHECK(read_some(c.ends[0]) == "1");
          }
        }));
      }
      for (int i = 0; i < 300; ++i) {
        bide::call_wrapper w(SYS_read, [&](bide::passing_call& call) { return ++passed, call.go_on(); });
        usleep(100);
      }
      done = true;
      for (auto& caller : callers) caller.get();
      CHECK(passed > 0);
    }, {.workers = 4});
  }

  TEST_CASE("what can't be wrapped is refused") {
    const auto refusal = [](long number) {
      try {
        bide::call_wrapper w(number, [](bide::passing_call& call) { return call.go_on(); });
      } catch (const std::system_error& error) {
        return error.code().value();
      }
      return 0;
    };
    CHECK(refusal(SYS_fork) == EINVAL);
    CHECK(refusal(-1) == EINVAL);
    CHECK(refusal(512) == EINVAL);
    CHECK(refusal(SYS_read) == 0);
    std::vector<bide::call_wrapper> many;
    for (int i = 0; i < 16; ++i) many.emplace_back(SYS_read, [](bide::passing_call& call) { return call.go_on(); });
    CHECK(refusal(SYS_read) == ENOSPC);
    many.clear();
    CHECK(refusal(SYS_read) == 0);
  }

  TEST_CASE("calls have names, and it is known which wait") {
    CHECK(std::string(bide_call_name(SYS_read)) == "read");
    CHECK(bide_call_name(511) == nullptr);
    CHECK(bide_call_waits(SYS_read) == 1);
    CHECK(bide_call_waits(SYS_getpid) == 0);
    CHECK(bide_call_waits(-1) == 0);
  }
}
