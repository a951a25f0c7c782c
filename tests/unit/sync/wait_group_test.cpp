#include <bide/wait_group.hpp>

#include <doctest/doctest.h>
#include <signal.h>

#include <list>
#include <memory>
#include <vector>

#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;
using bide::deadline;
using bide::wait_result;

namespace {

const scene too_many_done{"too many done", [] {
  bide::wait_group g(1);
  g.done();
  g.done();
}};

}  // namespace

TEST_SUITE("sync/wait_group") {
  TEST_CASE("at zero a wait is over at once, above it is not") {
    bide::wait_group g;
    g.wait();
    g.add(2);
    CHECK(g.wait_until(deadline::from_ns(0)) == wait_result::expired);
    g.done();
    CHECK(g.wait_until(deadline::after(std::chrono::microseconds(50))) == wait_result::expired);
    g.done();
    CHECK(g.wait_until(deadline::from_ns(0)) == wait_result::ready);
  }

  TEST_CASE("everyone who waits is woken at zero, fibers and plain threads") {
    on_workers([] {
      bide::wait_group g(5);
      std::atomic<int> through{0};
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < 6; ++i) {
        tasks.push_back(bide::spawn([&] {
          g.wait();
          ++through;
        }));
      }
      std::list<plain_thread> threads;
      threads.emplace_back([&] {
        g.wait();
        ++through;
      });
      until_parked(6);
      g.done(2);
      for (int i = 0; i < 2; ++i) bide::spawn([&] { g.done(); }).join();
      CHECK(through == 0);
      g.done();
      for (auto& t : tasks) t.join();
      threads.clear();
      CHECK(through == 7);
    });
  }

  TEST_CASE("it can be used again after zero") {
    on_workers([] {
      bide::wait_group g;
      std::atomic<int> done{0};
      for (int round = 1; round <= 20; ++round) {
        g.add(10);
        for (int i = 0; i < 10; ++i) {
          bide::spawn([&] {
            ++done;
            g.done();
          });
        }
        g.wait();
        REQUIRE(done == round * 10);
      }
    });
  }

  TEST_CASE("a cancelled wait throws") {
    on_workers([] {
      bide::wait_group g(1);
      auto waits = bide::spawn([&] { g.wait(); });
      until_parked(1);
      waits.cancel();
      CHECK_THROWS_AS(waits.get(), bide::cancelled);
      g.done();
    });
  }

  TEST_CASE("it may be destroyed as soon as a wait has returned") {
    on_workers([] {
      for (int i = 0; i < rounds(300); ++i) {
        auto g = std::make_unique<bide::wait_group>(2);
        bide::wait_group& there = *g;
        auto a = bide::spawn([&] { there.done(); }), b = bide::spawn([&] { there.done(); });
        g->wait();
        g.reset();
        a.join();
        b.join();
      }
    });
  }

  TEST_CASE("more done than were added ends the process with a word about it") {
    const auto end = too_many_done.play();
    CHECK(end.died_of(SIGABRT));
    CHECK(end.says("wait_group::done was called more often than add"));
  }
}
