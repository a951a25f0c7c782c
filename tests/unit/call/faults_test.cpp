// Each call of the table under faults: what the kernel refuses reaches the caller as it is, and a wake for nothing, too late, or
// that another has used up is invisible. (Short counts: partial_test.cpp.)
#include <doctest/doctest.h>

#include <errno.h>

#include <atomic>
#include <chrono>
#include <set>
#include <string>

#include "call/faulty_call.hpp"
#include "lib/call/table.hpp"
#include "lib/sched/signals.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/runtime.hpp"

using namespace unit;
using std::chrono::microseconds;

namespace {

template <class Test>
void each_call(Test test) {
  for (faulty_call& c : all_faulty_calls()) {
    CAPTURE(std::string(c.name));
    if (c.feed) c.feed();
    test(c);
  }
}

// Those that can be had to wait, waiting: in a fiber that is parked.
template <class Test>
void each_waiting_call(Test test) {
  each_call([&](faulty_call& c) {
    if (!c.starve) return;
    c.starve();
    fault_plan faults;
    auto waits = bide::spawn([&] { return c.make(); });
    until_parked(1);
    test(c, waits, faults);
    CHECK(c.well(waits.get()));
  });
}

}  // namespace

TEST_SUITE("call/faults") {
  TEST_CASE("every call of the table has its faults here, or a reason") {
    in_runtime([] {
      std::set<long> scripted{
          SYS_nanosleep, SYS_sched_yield, SYS_pause,        // ask the kernel nothing: await_signal_test.cpp
          SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_prctl,  // here for options::trap; else passed on as they are
      };
      for (const long nr : scripted) CHECK(bool(bide::call::entry(nr)));
      for (const faulty_call& c : all_faulty_calls()) scripted.insert(c.nr);
      if (!scripted.count(SYS_io_uring_enter)) {
        MESSAGE("no io_uring here: its calls are skipped");
        scripted.insert(SYS_io_uring_enter);
      }
      for (long nr = -1; (nr = bide::call::next_entry(nr)) >= 0;) {
        CAPTURE(nr);
        CHECK(scripted.count(nr) == 1);
      }
    });
  }

  TEST_CASE("what the kernel refuses reaches the caller, and the next call succeeds") {
    in_runtime([] {
      each_call([](const faulty_call& c) {
        fault_plan faults;
        for (const int error : c.errors) {
          CAPTURE(error);
          faults.on(c.attempted).call(faults.calls(c.attempted) + 1).fail_with(error);
          CHECK(c.make() == -error);
        }
        CHECK(faults.faults() == static_cast<int>(c.errors.size()));
        CHECK(c.well(c.make()));
      });
    });
  }

  TEST_CASE("an attempt that finds nothing buys another, for each call that waits") {
    on_workers([] {
      each_call([](const faulty_call& c) {
        if (!c.dry) return;
        fault_plan faults;
        faults.on(c.attempted).calls(1, c.elsewhere ? 1 : 2).answer(*c.dry);
        CHECK(c.well(c.make()));
        CHECK(faults.faults() == (c.elsewhere ? 1 : 2));
        CHECK(faults.calls(c.attempted) == faults.faults() + 1);
      });
    });
  }

  TEST_CASE("an error that comes after a wait is the call's") {
    in_runtime([] {
      each_call([](const faulty_call& c) {
        if (!c.dry) return;
        for (const int error : c.errors) {
          if (error == EINTR && c.elsewhere && c.restarts) continue;  // for nothing: it goes on
          CAPTURE(error);
          fault_plan faults;
          faults.on(c.attempted).call(1).answer(*c.dry);
          faults.on(c.attempted).call(2).fail_with(error);
          CHECK(c.make() == -error);
        }
        CHECK(c.well(c.make()));
      });
    });
  }

  TEST_CASE("who is late after a wake has what is there, and holds up nobody") {
    on_workers([] {
      each_call([](const faulty_call& c) {
        if (!c.dry) return;
        fault_plan faults;
        std::atomic<int> others{0};
        faults.on(c.attempted).call(1).answer(*c.dry);
        faults.on(c.attempted).call(2).first([&] {
          while (others < 3) bide::sleep_for(microseconds(100));
        });
        auto counts = bide::spawn([&] {
          for (; others < 3; ++others) bide::sleep_for(microseconds(100));
        });
        CHECK(c.well(c.make()));
        counts.join();
      });
    });
  }

  TEST_CASE("a parked call that is woken for nothing waits on") {
    in_runtime([] {
      each_waiting_call([](const faulty_call& c, bide::task<long>& waits, fault_plan&) {
        for (int i = 0; i < 3; ++i) {
          wake_for_nothing();
          until_parked(1);
          CHECK(!waits.done());
        }
        c.feed();
      });
    });
  }

  TEST_CASE("a parked call whose wake another has used up waits on") {
    in_runtime([] {
      each_waiting_call([](const faulty_call& c, bide::task<long>& waits, fault_plan& faults) {
        if (c.dry && c.contended) {
          faults.on(c.attempted).call(faults.calls(c.attempted) + 1).first([&] { c.starve(); });
          c.feed();
          until([&] { return faults.faults() == 1; });
          until_parked(1);
          CHECK(!waits.done());
        }
        c.feed();
      });
    });
  }

  TEST_CASE("a handler ends a parked call with nothing done, or has it go on, as signal(7) says") {
    for (const bool restarts : {false, true}) {
      CAPTURE(restarts);
      in_runtime([restarts] {
        each_call([restarts](const faulty_call& c) {
          if (!c.starve) return;
          c.starve();
          auto handles = bide::spawn([&] {
            until_main_waits();
            bide::core::note_signal(restarts);
            if (!restarts || !c.restarts) return;
            bide::yield();
            until_main_waits();
            c.feed();
          });
          const long answer = c.make();
          CHECK(((restarts && c.restarts) ? c.well(answer) : answer == -EINTR));
          handles.join();
          c.feed();
          CHECK(c.well(c.make()));
        });
      });
    }
  }
}
