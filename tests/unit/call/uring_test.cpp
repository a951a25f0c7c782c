// Waits for completions: for several at once, under a limit, under a mask, on each kind of ring.
#include <doctest/doctest.h>

#include <errno.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "lib/sched/signals.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/ring.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::sys::raw;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t ms = 1'000'000;

// On each kind of ring that this kernel has, in a runtime of one worker: a ring may insist on one kernel thread.
template <class F>
void on_rings(F f) {
  constexpr unsigned defers = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  for (const unsigned flags : {0u, unsigned{IORING_SETUP_COOP_TASKRUN}, defers}) {
    CAPTURE(flags);
    in_runtime([&] {
      ring r(flags);
      if (r.fd() >= 0) f(r);
      else MESSAGE("no such ring here: skipped");
    });
  }
}

// Counts while others wait.
class meanwhile {
 public:
  meanwhile() : counts_(bide::spawn([this] {
    for (;; ++turns) bide::sleep_for(milliseconds(1));
  })) {}
  ~meanwhile() {
    counts_.cancel();
    counts_.join();
  }
  int turns = 0;

 private:
  bide::task<void> counts_;
};

struct argument {
  __kernel_timespec length;
  io_uring_getevents_arg all{};
  explicit argument(std::int64_t ns, const sigset_t* mask = nullptr) : length{ns / 1'000'000'000, ns % 1'000'000'000} {
    all.ts = reinterpret_cast<std::uintptr_t>(&length);
    all.sigmask = reinterpret_cast<std::uintptr_t>(mask);
    all.sigmask_sz = 8;
  }
  argument(const argument&) = delete;
};
constexpr unsigned with_argument = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;

}  // namespace

TEST_SUITE("call/uring") {
  TEST_CASE("what could not be submitted is not waited for") {
    on_rings([](ring& r) {
      for (const bool natively : {true, false}) {
        CAPTURE(natively);
        bide::timeout limit(milliseconds(200));
        r.ask_nothing();
        // Two are asked for, and one is there.
        const long n = natively ? raw(SYS_io_uring_enter, r.fd(), 2, 2, IORING_ENTER_GETEVENTS, nullptr, 0) : r.enter(2, 2);
        CHECK(n == 1);
        CHECK(r.take() == 1);
        CHECK((natively ? raw(SYS_io_uring_enter, r.fd(), 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) : r.enter(1, 1)) == 0);
      }
    });
  }

  TEST_CASE("a wait for several completions is over when all are there, which others bring about meanwhile") {
    on_rings([](ring& r) {
      for (const unsigned least : {1u, 2u, 3u}) {
        CAPTURE(least);
        const ends pairs[] = {socket_pair(), socket_pair(), socket_pair()};
        for (const ends& each : pairs) r.ask_byte(each.ours);
        auto writes = bide::spawn([&] {
          for (const ends& each : pairs) {
            bide::sleep_for(milliseconds(10));
            write_text(each.theirs, "x");
          }
        });
        CHECK(r.enter(3, least) == 3);
        CHECK(r.completions() >= least);
        CHECK(r.enter(0, 3) == 0);
        CHECK(r.take() == 3);
        writes.join();
      }
    });
  }

  TEST_CASE("a wait ends with its completion, not at the next look") {
    on_rings([](ring& r) {
      for (const unsigned least : {1u, 2u}) {
        CAPTURE(least);
        const auto took = [&] {
          const ends pairs[] = {socket_pair(), socket_pair()};
          const auto start = std::chrono::steady_clock::now();
          for (unsigned i = 0; i < least; ++i) r.ask_byte(pairs[i].ours);
          auto writes = bide::spawn([&] {
            bide::sleep_for(milliseconds(10));
            for (unsigned i = 0; i < least; ++i) write_text(pairs[i].theirs, "x");
          });
          CHECK(r.enter(least, least) == least);
          CHECK(r.take() == least);
          writes.join();
          return std::chrono::steady_clock::now() - start;
        };
        CHECK(std::min({took(), took(), took()}) < milliseconds(200));
      }
    });
  }

  TEST_CASE("a timeout that passes ends a wait for several, as in the kernel") {
    on_rings([](ring& r) {
      for (const bool natively : {true, false}) {
        CAPTURE(natively);
        for (const int after : {20, 3600'000}) r.ask_time(after * ms);
        CHECK((natively ? raw(SYS_io_uring_enter, r.fd(), 2, 2, IORING_ENTER_GETEVENTS, nullptr, 0) : r.enter(2, 2)) == 2);
        CHECK(r.take() == 1);
      }
    });
  }

  TEST_CASE("completions that are there already are no wait") {
    on_rings([](ring& r) {
      for (int i = 0; i < 3; ++i) r.ask_nothing();
      CHECK(r.enter(3, 3) == 3);
      CHECK(r.enter(0, 2) == 0);
      CHECK(r.take() == 3);
    });
  }

  TEST_CASE("more than the queue holds are not waited for") {
    on_rings([](ring& r) {
      for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < 16; ++i) r.ask_nothing();
        CHECK(r.enter(16, round ? 1'000'000u : 1u) == 16);
      }
      CHECK(r.take() == 32);
    });
  }

  TEST_CASE("a limit ends a wait for several: as expired with none, as done with some") {
    on_rings([](ring& r) {
      const argument soon(20 * ms);
      const meanwhile others;
      CHECK(r.enter(0, 2, with_argument, &soon.all, sizeof soon.all) == -ETIME);
      CHECK(others.turns > 0);
      const ends silent = socket_pair();
      r.ask_nothing();
      r.ask_byte(silent.ours);
      CHECK(r.enter(2, 2, with_argument, &soon.all, sizeof soon.all) == 2);
      CHECK(r.completions() == 1);
      CHECK(r.enter(0, 2, with_argument, &soon.all, sizeof soon.all) == 0);
      CHECK(r.take() == 1);
      CHECK(r.enter(0, 1, with_argument, &soon.all, sizeof soon.all) == -ETIME);
    });
  }

  TEST_CASE("a handler and a cancel end a wait for several, and what was asked for goes on") {
    on_rings([](ring& r) {
      auto notes = bide::spawn([] {
        until_main_waits();
        bide::core::note_signal(true);  // io_uring_enter(2) is not restarted
      });
      CHECK(r.enter(0, 2) == -EINTR);
      notes.join();
      const ends pairs[] = {socket_pair(), socket_pair()};
      for (const ends& each : pairs) r.ask_byte(each.ours);
      CHECK(r.enter(2, 0) == 2);
      auto waits = bide::spawn([&] { return r.enter(0, 2); });
      until_parked(1);
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
      for (const ends& each : pairs) write_text(each.theirs, "x");
      CHECK(r.enter(0, 2) == 0);
      CHECK(r.take() == 2);
    });
  }

  TEST_CASE("a mask is the wait's own: what it lets through ends it") {
    struct sigaction now {}, before;
    now.sa_handler = [](int) { bide::core::note_signal(false); };
    const int number = SIGRTMIN + 6;
    sigaction(number, &now, &before);
    sigset_t blocked{}, was, open;
    sigaddset(&blocked, number);
    pthread_sigmask(SIG_BLOCK, &blocked, &was);
    open = was;
    const auto blocks = [number] {
      sigset_t mask;
      pthread_sigmask(SIG_BLOCK, nullptr, &mask);
      return sigismember(&mask, number) == 1;
    };
    on_rings([&](ring& r) {
      const argument within(500 * ms, &open);
      for (const bool more : {false, true}) {
        CAPTURE(more);
        const auto wait = [&](unsigned least) {
          return more ? r.enter(0, least, with_argument, &within.all, sizeof within.all)
                      : r.enter(0, least, IORING_ENTER_GETEVENTS, &open, 8);
        };
        for (const unsigned least : {1u, 2u}) {
          CAPTURE(least);
          raise(number);
          CHECK(wait(least) == -EINTR);  // it was pending
          CHECK(blocks());
          auto sends = bide::spawn([&] {
            until_main_waits();
            kill(getpid(), number);
          });
          CHECK(wait(least) == -EINTR);
          CHECK(blocks());
          sends.join();
        }
        r.ask_nothing();
        CHECK(r.enter(1, 0) == 1);
        CHECK(wait(1) == 0);
        CHECK(r.take() == 1);
      }
    });
    pthread_sigmask(SIG_SETMASK, &was, nullptr);
    sigaction(number, &before, nullptr);
  }

  TEST_CASE("with no descriptor left to be told by, a wait for several is the kernel's") {
    in_runtime([] {
      ring r;
      if (r.fd() < 0) {
        MESSAGE("no io_uring here: skipped");
        return;
      }
      r.ask_nothing();
      r.ask_time(10 * ms);
      fault_plan faults;
      faults.on(SYS_eventfd2).fail_with(EMFILE);
      CHECK(r.enter(2, 2) == 2);
      CHECK(r.take() == 2);
      CHECK(faults.faults() == 1);
    });
  }
}
