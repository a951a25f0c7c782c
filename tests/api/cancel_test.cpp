// A cancel is told once, and never lost: not when what was waited for comes in the same moment, nor when a call has
// something to show. asyncio's rule: who cancels a task that is about to go on has CancelledError raised at its next await.
#include "support.hpp"

#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <stdexcept>
#include <vector>

using namespace api;

namespace {

// Whether the next wait of the calling fiber ends as cancelled, and the one after it does not.
bool is_told_once() {
  const bool told = usleep(2'000'000) == -1 && errno == ECANCELED;
  return told && usleep(10) == 0;
}

}  // namespace

TEST_SUITE("api/cancel") {
  TEST_CASE("a cancel is told once, and what is caught is over") {
    on_workers([] {
      int told = 0;
      auto t = bide::spawn([&] {
        for (int i = 0; i < 3; ++i) {
          try {
            bide::sleep_for(i == 0 ? 1h : 1ms);
          } catch (const bide::cancelled&) {
            ++told;
          }
        }
      });
      until_parked(t);
      t.cancel();
      t.get();
      CHECK(told == 1);
    });
  }

  TEST_CASE("a cancel that comes with the end of the task waited for is the next wait's") {
    bide::run([] {
      bide::semaphore s;
      auto child = bide::spawn([&] { s.acquire(); });
      auto waits = bide::spawn([&] {
        child.join();
        return is_told_once();
      });
      until_parked(waits);
      s.release();  // the child is ready first, and has ended when the other has its turn
      waits.cancel();
      CHECK(waits.get());
    });
  }

  TEST_CASE("a permit, a value and a cancel in one moment: each comes, whichever was first") {
    for (const bool cancelled_first : {false, true}) {
      CAPTURE(cancelled_first);
      bide::run([&] {
        bide::semaphore s;
        bide::channel<int> c, other;
        bide::queue<int> q;
        const auto meet = [&](auto wait, auto give) {
          bool waited = false, told = false;
          auto t = bide::spawn([&] {
            try {
              wait();
              waited = true;
              told = is_told_once();
            } catch (const bide::cancelled&) {
              told = true;
              CHECK(usleep(10) == 0);
            }
          });
          until_parked(t);
          if (cancelled_first) t.cancel();
          give();
          if (!cancelled_first) t.cancel();
          t.get();
          CHECK(waited == !cancelled_first);
          CHECK(told);
        };
        meet([&] { s.acquire(); }, [&] { s.release(); });
        CHECK(s.try_acquire() == cancelled_first);
        int value = 1;
        const auto sends = [&] { CHECK((c.try_send(value) == bide::wait_result::expired) == cancelled_first); };
        meet([&] { c.receive(); }, sends);
        meet([&] { bide::select(bide::on_receive(c, [](int) {}), bide::on_time(1h, [] {})); }, sends);
        meet([&] { bide::select(bide::on_receive(other, [](int) {}), bide::on_send(c, 5, [] {})); },
             [&] { CHECK(c.try_receive().has_value() == !cancelled_first); });
        meet([&] { q.get(); }, [&] { q.put(7); });
        CHECK(q.size() == (cancelled_first ? 1 : 0));
      });
    }
  }

  TEST_CASE("a select that a descriptor or a task ends keeps a cancel, or is ended by it") {
    bide::run([] {
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
      bide::semaphore s;
      auto child = bide::spawn([&] { s.acquire(); });
      const auto waits = [&](auto make) {
        return bide::spawn([&, make] {
          try {
            make();
          } catch (const bide::cancelled&) {
            return usleep(10) == 0;
          }
          return is_told_once();
        });
      };
      auto by_task = waits([&] { bide::select(bide::on_end(child, [] {})); });
      auto by_fd = waits([&] { bide::select(bide::on_readable(ends[0], [] {})); });
      until_parked(by_task);
      until_parked(by_fd);
      CHECK(write(ends[1], "x", 1) == 1);
      s.release();
      by_task.cancel();
      by_fd.cancel();
      CHECK(by_task.get());
      CHECK(by_fd.get());
      close(ends[0]), close(ends[1]);
    });
  }

  TEST_CASE("a condition that comes true with a cancel is told as cancelled") {
    bide::run([] {
      bide::mutex m;
      bide::condition_variable changed;
      bool there = false;
      auto t = bide::spawn([&] {
        std::unique_lock lock(m);
        return changed.wait_until(lock, bide::deadline::after(1h), [&] { return there; });
      });
      until_parked(t);
      t.cancel();
      there = true;
      changed.notify_all();
      CHECK(t.get() == bide::wait_result::cancelled);
    });
  }

  TEST_CASE("who is cancelled at a barrier when all have met was one of them") {
    bide::run([] {
      bide::barrier b(2);
      auto t = bide::spawn([&] {
        const auto before = b.arrive_and_wait();
        return before == 0 && is_told_once();
      });
      until_parked(t);
      t.cancel();
      CHECK(b.arrive_and_wait() == 1);
      CHECK(t.get());
    });
  }

  // In the kernel, too, a signal that comes after a part has gone leaves the count to be told.
  TEST_CASE("a transfer that has moved something tells how much, and the next wait of the cancel") {
    bide::run([] {
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
      const std::string much(1 << 22, 'x');
      const auto part_and_told = [&](auto send) {
        auto t = bide::spawn([&] {
          const ssize_t n = send();
          return n > 0 && n < static_cast<ssize_t>(much.size()) && is_told_once();
        });
        until_parked(t);
        t.cancel();
        CHECK(t.get());
        char room[65536];
        while (recv(ends[1], room, sizeof room, MSG_DONTWAIT) > 0) {
        }
      };
      part_and_told([&] { return write(ends[0], much.data(), much.size()); });
      part_and_told([&] { return send(ends[0], much.data(), much.size(), 0); });
      part_and_told([&] {
        iovec v{const_cast<char*>(much.data()), much.size()};
        msghdr m{};
        m.msg_iov = &v;
        m.msg_iovlen = 1;
        return sendmsg(ends[0], &m, 0);
      });
      auto reader = bide::spawn([&] {
        char room[8];
        return recv(ends[0], room, sizeof room, MSG_WAITALL) == 3 && is_told_once();
      });
      CHECK(write(ends[1], "abc", 3) == 3);
      bide::yield();
      while (reader.state() < bide::task_state::parked) bide::yield();
      usleep(1000);  // it has taken the three, and waits for five
      reader.cancel();
      CHECK(reader.get());
      close(ends[0]), close(ends[1]);
    });
  }

  // asyncio.TaskGroup, since 3.13: when its parent is cancelled and children fail as they end, their failures are raised,
  // and the parent is cancelled anew.
  TEST_CASE("a failure that is thrown in a cancel's place leaves the cancel for the next wait") {
    on_workers([] {
      for (const bool within : {true, false}) {
        CAPTURE(within);
        bide::event there;
        auto t = bide::spawn([&] {
          const auto children = [&](bide::group& g) {
            g.spawn([&] {
              there.set();
              if (usleep(2'000'000) == -1) throw std::runtime_error("as it ended");
            });
            if (within) bide::sleep_for(1h);
          };
          try {
            bide::in_group(children);
          } catch (const std::runtime_error&) {
            return is_told_once();
          }
          return false;
        });
        there.wait();
        until_parked(t);
        t.cancel();
        CHECK(t.get());
      }
    });
  }

  TEST_CASE("a block that a child's failure ends was not cancelled") {
    on_workers([] {
      auto t = bide::spawn([] {
        CHECK_THROWS_AS(bide::in_group([](bide::group& g) {
          g.spawn([] { throw 1; });
          bide::sleep_for(1h);
        }), int);
        return usleep(10) == 0;
      });
      CHECK(t.get());
    });
  }

  TEST_CASE("a storm of cancels and of what is waited for: everybody is told once, nothing goes astray") {
    on_workers([] {
      bide::semaphore permits;
      bide::channel<int> values;
      bide::condition_variable changed;
      bide::mutex m;
      long taken = 0, received = 0;  // guarded by m
      std::atomic<int> told = 0, twice = 0;
      const std::vector<std::function<void()>> waits{
          [&] { permits.acquire(), m.lock(), ++taken, m.unlock(); },
          [&] { if (values.receive()) m.lock(), ++received, m.unlock(); },
          [&] { bide::select(bide::on_receive(values, [&](int) { m.lock(), ++received, m.unlock(); }), bide::on_time(1h, [] {})); },
          [&] {
            std::unique_lock lock(m);
            changed.wait(lock);
          },
          [&] { bide::spawn([] { bide::yield(); }).join(); },
      };
      const int each = 40;
      std::vector<bide::task<void>> all;
      for (int i = 0; i < each * static_cast<int>(waits.size()); ++i) {
        all.push_back(bide::spawn([&, wait = waits[i % waits.size()]] {
          try {
            wait();
            bide::sleep_for(1h);
          } catch (const bide::cancelled&) {
            ++told;
          }
          try {
            bide::sleep_for(100us);
          } catch (const bide::cancelled&) {
            ++twice;
          }
        }));
      }
      int sent = 0;
      std::vector<bide::task<void>> helpers;
      helpers.push_back(bide::spawn([&] { for (int i = 0; i < each / 2; ++i) permits.release(), bide::yield(); }));
      helpers.push_back(bide::spawn([&] { for (int i = 0, v = 1; i < each; ++i) sent += values.try_send(v) == bide::wait_result::ready, bide::yield(); }));
      helpers.push_back(bide::spawn([&] { for (int i = 0; i < each; ++i) changed.notify_one(), bide::yield(); }));
      for (auto& t : all) t.cancel();
      for (auto& t : all) t.get();
      for (auto& t : helpers) t.get();
      CHECK(told == static_cast<int>(all.size()));
      CHECK(twice == 0);
      CHECK(received == sent);
      while (permits.try_acquire()) ++taken;
      CHECK(taken == each / 2);
    });
  }
}
