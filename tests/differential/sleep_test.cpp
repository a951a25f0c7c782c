#include <doctest/doctest.h>
#include <time.h>
#include <unistd.h>

#include <mutex>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

timespec after(clockid_t clock, milliseconds length) {
  timespec at{};
  must(clock_gettime(clock, &at), "clock_gettime");
  const long ns = at.tv_nsec + length.count() % 1000 * 1'000'000;
  return {at.tv_sec + length.count() / 1000 + ns / 1'000'000'000, ns % 1'000'000'000};
}

constexpr std::pair<const char*, clockid_t> clocks[] = {
    {"CLOCK_MONOTONIC", CLOCK_MONOTONIC},
    {"CLOCK_REALTIME", CLOCK_REALTIME},
    {"CLOCK_BOOTTIME", CLOCK_BOOTTIME},
    {"CLOCK_TAI", CLOCK_TAI},
};

}  // namespace

TEST_SUITE("differential/sleep") {
  TEST_CASE("every sleep lasts as long as it says") {
    compare([](actor& me) {
      const timespec length{0, 130'000'000};
      timespec left{7, 7};
      me.call_for(130ms, "nanosleep", [&] { return nanosleep(&length, &left); });
      me.note("the remainder is not touched", left.tv_sec * 10 + left.tv_nsec);
      me.call_for(130ms, "nanosleep without remainder", [&] { return nanosleep(&length, nullptr); });
      me.call_for(130ms, "usleep", [&] { return usleep(130'000); });
      me.call_for(1100ms, "usleep of more than a second", [&] { return usleep(1'100'000); });
      me.call_for(1000ms, "sleep", [&] { return sleep(1); });
    });
  }

  TEST_CASE("a sleep of nothing returns at once") {
    compare([](actor& me) {
      const timespec nothing{};
      me.call_for(0ms, "nanosleep", [&] { return nanosleep(&nothing, nullptr); });
      me.call_for(0ms, "usleep", [&] { return usleep(0); });
      me.call_for(0ms, "sleep", [&] { return sleep(0); });
      me.call_for(0ms, "clock_nanosleep", [&] { return clock_nanosleep(CLOCK_MONOTONIC, 0, &nothing, nullptr); });
    });
  }

  TEST_CASE("clock_nanosleep sleeps by each clock, for a time and until a time") {
    for (const auto& [name, clock] : clocks) {
      INFO(std::string(name));
      compare([clock = clock](actor& me) {
        const timespec length{0, 130'000'000};
        timespec left{7, 7};
        me.call_for(130ms, "for", [&] { return clock_nanosleep(clock, 0, &length, &left); });
        const timespec then = after(clock, 130ms);
        me.call_for(130ms, "until", [&] { return clock_nanosleep(clock, TIMER_ABSTIME, &then, &left); });
        me.note("the remainder is not touched", left.tv_sec * 10 + left.tv_nsec);
        const timespec past = after(clock, -5000ms);
        me.call_for(0ms, "until what is past",
                    [&] { return clock_nanosleep(clock, TIMER_ABSTIME, &past, nullptr); });
        const timespec origin{};
        me.call_for(0ms, "until the clock's origin",
                    [&] { return clock_nanosleep(clock, TIMER_ABSTIME, &origin, nullptr); });
      });
    }
  }

  TEST_CASE("a time that makes no sense is refused") {
    compare([](actor& me) {
      const timespec much{0, 1'000'000'000}, negative{-1, 0}, strange{0, -1};
      me.call("nanoseconds out of range", [&] { return nanosleep(&much, nullptr); });
      me.call("negative seconds", [&] { return nanosleep(&negative, nullptr); });
      me.call("negative nanoseconds", [&] { return nanosleep(&strange, nullptr); });
      me.call("clock_nanosleep", [&] { return clock_nanosleep(CLOCK_MONOTONIC, 0, &much, nullptr); });
      me.call("until a negative time",
              [&] { return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &negative, nullptr); });
      const timespec fine{0, 1};
      me.call("an unknown clock", [&] { return clock_nanosleep(99, 0, &fine, nullptr); });
      me.call("the clock of this thread", [&] { return clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &fine, nullptr); });
      me.call("a coarse clock", [&] { return clock_nanosleep(CLOCK_MONOTONIC_COARSE, 0, &fine, nullptr); });
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they look at the place themselves
      me.call("a bad place", [&] { return nanosleep(static_cast<timespec*>(bad_address()), nullptr); });
      me.call("clock_nanosleep from a bad place",
              [&] { return clock_nanosleep(CLOCK_MONOTONIC, 0, static_cast<timespec*>(bad_address()), nullptr); });
#endif
    });
  }

  TEST_CASE("a sleep by the process's CPU clock lasts until that much work is done") {
    compare([](actor& me) {
      std::atomic<bool> over = false;
      actor& busy = me.start("busy", [&](actor&) {
        while (!over) {
          const auto until = std::chrono::steady_clock::now() + 5ms;
          while (std::chrono::steady_clock::now() < until) {
          }
          moment();
        }
      });
      const timespec work{0, 40'000'000};
      me.call("clock_nanosleep", [&] { return clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &work, nullptr); });
      over = true;
      me.join(busy);
    });
  }

  TEST_CASE("many sleep at the same time and wake in the order of their times") {
    compare([](actor& me) {
      std::mutex guard;
      std::string order;
      std::vector<actor*> all;
      for (const int turn : {3, 1, 2, 5, 4})
        all.push_back(&me.start("sleeper", [&guard, &order, turn](actor& sleeper) {
          sleeper.call("usleep", [&] { return usleep(static_cast<useconds_t>(turn) * 60'000); });
          const std::lock_guard hold(guard);
          order += std::to_string(turn);
        }));
      me.call_for(300ms, "joining them", [&] {
        for (actor* sleeper : all) me.join(*sleeper);
        return 0;
      });
      me.note("order", order);
    });
  }
}
