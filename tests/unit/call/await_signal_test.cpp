// Waits for signals under faults: none is lost, none taken twice, and the mask of before is back however a wait ends.
#include <doctest/doctest.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

#include "lib/sched/signals.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::sys::raw;
using std::chrono::milliseconds;

namespace {

constexpr int set_size = 8;

// Two signals of this thread's own: one that is awaited, and one with a handler, both blocked.
class signals {
 public:
  signals() {
    sigset_t both{};
    for (const int number : {awaited(), handled()}) sigaddset(&both, number);
    sigaddset(&wanted, awaited());
    pthread_sigmask(SIG_BLOCK, &both, &before_);
    pthread_sigmask(SIG_BLOCK, nullptr, &open);
    sigdelset(&open, handled());
    struct sigaction now {};
    now.sa_handler = [](int) {
      handled_so_far = handled_so_far + 1;
      bide::core::note_signal(true);
    };
    sigaction(handled(), &now, &action_before_);
    handled_so_far = 0;
  }
  ~signals() {
    take_all();
    sigaction(handled(), &action_before_, nullptr);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  signals(const signals&) = delete;

  static int awaited() { return SIGRTMIN + 5; }
  static int handled() { return SIGRTMIN + 6; }
  // With a number that tells one from another, to this thread.
  static void send(int number, int value = 0) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_value.sival_int = value;
    raw(SYS_rt_tgsigqueueinfo, getpid(), raw(SYS_gettid), number, &info);
  }
  static bool blocks() {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, awaited()) == 1 && sigismember(&mask, handled()) == 1;
  }
  int take_all() const {
    sigset_t both = wanted;
    sigaddset(&both, handled());
    constexpr timespec none{};
    int count = 0;
    while (sigtimedwait(&both, nullptr, &none) > 0) ++count;
    return count;
  }
  long wait(siginfo_t* info = nullptr, const timespec* limit = nullptr) const {
    return make_call(SYS_rt_sigtimedwait, &wanted, info, limit, set_size);
  }
  long suspend() const { return make_call(SYS_rt_sigsuspend, &open, set_size); }

  sigset_t wanted{}, open{};  // waited for; the mask under which the other comes through
  static inline volatile sig_atomic_t handled_so_far = 0;

 private:
  sigset_t before_{};
  struct sigaction action_before_ {};
};

}  // namespace

TEST_SUITE("call/await_signal") {
  TEST_CASE("under faults each signal is taken once, in order") {
    in_runtime([] {
      const signals all;
      fault_plan faults;
      faults.on(SYS_rt_sigtimedwait).every(5, 1).fail_with(EAGAIN);
      faults.on(SYS_rt_sigtimedwait).every(5, 2).fail_with(EINTR);
      faults.on(SYS_rt_sigtimedwait).every(5, 3).first([] { bide::sleep_for(milliseconds(1)); });
      auto sends = bide::spawn([] {
        for (int i = 0; i < 40; ++i) {
          signals::send(signals::awaited(), i);
          if (i % 3 == 0) bide::sleep_for(milliseconds(1));
        }
      });
      for (int i = 0; i < 40;) {
        siginfo_t info;
        const long n = all.wait(&info);
        CHECK((n == signals::awaited() || n == -EINTR));
        if (n == signals::awaited()) CHECK(info.si_value.sival_int == i++);
      }
      sends.join();
      CHECK(all.take_all() == 0);
      CHECK(faults.faults() > 20);
    });
  }

  TEST_CASE("who is late at its limit has the signal that has come") {
    in_runtime([] {
      const signals all;
      constexpr timespec limit{0, 5'000'000};
      fault_plan faults;
      faults.on(SYS_rt_sigtimedwait).call(2).first([] { signals::send(signals::awaited()); });
      CHECK(all.wait(nullptr, &limit) == signals::awaited());
      CHECK(all.wait(nullptr, &limit) == -EAGAIN);
    });
  }

  TEST_CASE("with no descriptor to be told by it waits elsewhere, for what other threads don't block") {
    in_runtime([] {
      const signals all;
      fault_plan faults;
      faults.on(SYS_signalfd4).fail_with(EMFILE);
      constexpr timespec limit{0, 5'000'000};
      CHECK(all.wait(nullptr, &limit) == -EAGAIN);
      auto sends = bide::spawn([] {
        until_main_waits();
        kill(getpid(), signals::awaited());  // to the process: whichever thread waits for it
      });
      CHECK(all.wait() == signals::awaited());
      sends.join();
      CHECK(faults.faults() == 2);
    });
  }

  TEST_CASE("a suspend that is woken for nothing goes on, and ends by a handler with the mask of before") {
    in_runtime([] {
      const signals all;
      auto waits = bide::spawn([] {
        until_main_waits();
        for (int i = 0; i < 3; ++i) {
          wake_for_nothing();
          until_main_waits();
        }
        CHECK(signals::handled_so_far == 0);
        signals::send(signals::handled());
      });
      CHECK(all.suspend() == -EINTR);
      CHECK(signals::handled_so_far == 1);
      CHECK(signals::blocks());
      waits.join();
    });
  }

  TEST_CASE("a signal that is pending ends a suspend at once; one that comes when it is over waits for the next") {
    in_runtime([] {
      const signals all;
      for (int i = 1; i <= 3; ++i) {
        signals::send(signals::handled());
        CHECK(signals::handled_so_far == i - 1);
        CHECK(all.suspend() == -EINTR);
        CHECK(signals::handled_so_far == i);
        CHECK(signals::blocks());
      }
    });
  }

  TEST_CASE("a cancel and a deadline end a suspend with the mask of before, and so does a mask that is refused") {
    in_runtime([] {
      const signals all;
      auto waits = bide::spawn([&] { return all.suspend(); });
      until_parked(1);
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
      CHECK(signals::blocks());
      {
        bide::timeout soon(milliseconds(5));
        CHECK(all.suspend() == -ETIMEDOUT);
      }
      CHECK(signals::blocks());
      fault_plan faults;
      faults.on(SYS_rt_sigprocmask).fail_with(EINVAL);
      CHECK(all.suspend() == -EINVAL);
      CHECK(signals::blocks());
      CHECK(signals::handled_so_far == 0);
    });
  }

  TEST_CASE("a pause goes on when it is woken for nothing, and ends by a handler") {
    const auto bring = [](const std::atomic<bool>& over) {
      for (int i = 0; i < 3; ++i) {
        wake_for_nothing();
        bide::sleep_for(milliseconds(1));
      }
      CHECK(!over);
      bide::core::note_signal(true);
    };
    const auto pause = [](std::atomic<bool>& over) {
      CHECK(make_call(SYS_pause) == -EINTR);
      over = true;
    };
    SUBCASE("on the first fiber") {
      on_workers([&] {
        std::atomic<bool> over{false};
        auto brings = bide::spawn([&] {
          until_main_waits();
          bring(over);
        });
        pause(over);
        brings.join();
      });
    }
    SUBCASE("on another, which sees those of its worker") {
      in_runtime([&] {
        std::atomic<bool> over{false};
        auto waits = bide::spawn([&] { pause(over); });
        until_parked(1);
        bring(over);
        waits.join();
      });
    }
  }

  TEST_CASE("a pause that is cancelled ends so, and a handler that ran before it is none of its") {
    in_runtime([] {
      bide::core::note_signal(false);
      auto waits = bide::spawn([] { return make_call(SYS_pause); });
      until_parked(1);
      bide::sleep_for(milliseconds(25));  // longer than it takes to look again
      CHECK(!waits.done());
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
    });
  }
}
