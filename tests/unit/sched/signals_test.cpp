#include "lib/sched/signals.hpp"

#include <doctest/doctest.h>
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

#include "lib/sched/runtime.hpp"
#include "support/descriptors.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::core::note_signal;
using std::chrono::milliseconds;

namespace {

long read_byte(int fd) {
  char room[1];
  return make_call(SYS_read, fd, room, 1);
}

// As a program's handler is called by the door's: it notes that it ran, and with what flags.
template <bool restarts>
void handler(int) {
  note_signal(restarts);
}

class handled {
 public:
  handled(int number, void (*function)(int)) : number_(number) {
    struct sigaction now {};
    now.sa_handler = function;
    sigaction(number, &now, &before_);
  }
  ~handled() { sigaction(number_, &before_, nullptr); }

 private:
  int number_;
  struct sigaction before_;
};

// Does it once the first fiber is parked, from a fiber of its own.
template <class F>
bide::task<void> once_main_waits(F f) {
  return bide::spawn([f] {
    until_main_waits();
    f();
  });
}

}  // namespace

TEST_SUITE("sched/signals") {
  TEST_CASE("a handler interrupts the first fiber's call in progress") {
    on_workers([] {
      const handled h(SIGUSR1, handler<false>);
      const ends p = pipe_ends();
      auto sends = once_main_waits([] { kill(getpid(), SIGUSR1); });
      CHECK(read_byte(p.ours) == -EINTR);
      sends.join();
    });
  }

  TEST_CASE("one that asks for a restart leaves the call going on") {
    on_workers([] {
      const handled h(SIGUSR1, handler<true>);
      const ends p = pipe_ends();
      auto sends = once_main_waits([&] {
        kill(getpid(), SIGUSR1);
        bide::sleep_for(milliseconds(5));
        write_text(p.theirs, "x");
      });
      CHECK(read_byte(p.ours) == 1);
      sends.join();
    });
  }

  TEST_CASE("of several handlers one that restarts nothing is enough") {
    on_workers([] {
      const ends p = pipe_ends();
      auto sends = once_main_waits([] {
        note_signal(true);
        note_signal(false);
        note_signal(true);
      });
      CHECK(read_byte(p.ours) == -EINTR);
      sends.join();
    });
  }

  TEST_CASE("calls of other fibers go on, and so do waits that are no calls") {
    on_workers([] {
      const ends p = pipe_ends();
      bide::semaphore s;
      auto reads = bide::spawn([&] { return read_byte(p.ours); });
      auto notes = bide::spawn([&] {
        until_parked(2);
        note_signal(false);
        bide::sleep_for(milliseconds(5));
        CHECK_FALSE(reads.done());
        s.release();
      });
      s.acquire();  // the first fiber's: a thread would wait for a futex, and again
      notes.join();
      write_text(p.theirs, "x");
      CHECK(reads.get() == 1);
    });
  }

  TEST_CASE("one that comes while the first fiber runs interrupts no call after it") {
    on_workers([] {
      const handled h(SIGUSR1, handler<false>);
      const ends p = pipe_ends();
      raise(SIGUSR1);
      auto writes = once_main_waits([&] { write_text(p.theirs, "x"); });
      CHECK(read_byte(p.ours) == 1);
      writes.join();
    });
  }

  TEST_CASE("of two runtimes the first has the signals, and the other after its end") {
    in_runtime([] {
      const ends p = pipe_ends();
      std::atomic<long> answer{1};
      std::atomic<bool> waits{false}, over{false};
      plain_thread other([&] {
        bide::run([&] {
          auto says = once_main_waits([&] { waits = true; });
          answer = read_byte(p.ours);
        });
        over = true;
      });
      until([&] { return waits.load(); });
      note_signal(false);
      bide::sleep_for(milliseconds(5));
      CHECK_FALSE(over);
      write_text(p.theirs, "x");
      other.join();
      CHECK(answer == 1);
    });
    in_runtime([] {
      const ends p = pipe_ends();
      auto sends = once_main_waits([] { note_signal(false); });
      CHECK(read_byte(p.ours) == -EINTR);
    });
  }
}
