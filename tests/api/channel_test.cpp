#include "support.hpp"

#include <atomic>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

using namespace api;
using bide::wait_result;

TEST_SUITE("api/channel") {
  TEST_CASE("an unbuffered send waits until its value is received") {
    on_workers([] {
      bide::channel<int> c;
      bool sent = false;
      auto sender = bide::spawn([&] {
        c.send(4);
        sent = true;
      });
      until_parked(sender);
      CHECK(!sent);
      CHECK(c.size() == 0);
      CHECK(c.receive() == 4);
      sender.join();
      CHECK(sent);
    });
  }

  TEST_CASE("a bounded channel takes so many, in order, and then waits") {
    on_workers([] {
      bide::channel<int> c(2);
      int one = 1, two = 2, three = 3;
      CHECK(c.try_send(one) == wait_result::ready);
      CHECK(c.try_send(two) == wait_result::ready);
      CHECK(c.try_send(three) == wait_result::expired);
      CHECK(three == 3);
      CHECK(c.send_until(three, bide::deadline::after(2ms)) == wait_result::expired);
      auto sender = bide::spawn([&] { c.send(3); });
      CHECK(c.receive() == 1);
      sender.join();
      CHECK(c.receive() == 2);
      CHECK(c.receive() == 3);
      CHECK(!c.try_receive());
      std::optional<int> none;
      CHECK(c.receive_until(none, bide::deadline::after(2ms)) == wait_result::expired);
    });
  }

  TEST_CASE("a closed channel gives what is in it, then ends the loop; sends are refused with the value in place") {
    on_workers([] {
      bide::channel<std::unique_ptr<int>> c(bide::unbounded);
      for (int i = 0; i < 5; ++i) c.send(std::make_unique<int>(i));
      auto late = std::make_unique<int>(9);
      c.close();
      CHECK(c.try_send(late) == wait_result::closed);
      CHECK(*late == 9);
      CHECK(error_of([&] { c.send(nullptr); }, "closed") == EPIPE);
      int sum = 0;
      for (auto& p : c) sum += *p;
      CHECK(sum == 10);
      CHECK(!c.receive());
      CHECK(error_of([&] { c.close(); }, "closed already") == EBADF);
    });
  }

  TEST_CASE("closing wakes everyone who waits, on both sides") {
    on_workers([] {
      bide::channel<int> empty, full;
      std::vector<bide::task<bool>> receivers;
      std::vector<bide::task<int>> senders;
      for (int i = 0; i < 5; ++i) {
        receivers.push_back(bide::spawn([&] { return !empty.receive(); }));
        senders.push_back(bide::spawn([&] { return error_of([&] { full.send(1); }); }));
      }
      for (auto& t : receivers) until_parked(t);
      for (auto& t : senders) until_parked(t);
      empty.close();
      full.close();
      for (auto& t : receivers) CHECK(t.get());
      for (auto& t : senders) CHECK(t.get() == EPIPE);
    });
  }

  TEST_CASE("a cancel and a deadline end the waits at a channel, and nothing is sent or received by them") {
    on_workers([] {
      bide::channel<int> c;
      auto receiver = bide::spawn([&] { return c.receive(); });
      auto sender = bide::spawn([&] {
        bide::channel<int> other;
        other.send(1);
      });
      until_parked(receiver);
      receiver.cancel();
      sender.cancel();
      CHECK_THROWS_AS(receiver.get(), bide::cancelled);
      CHECK_THROWS_AS(sender.get(), bide::cancelled);
      int value = 1;
      CHECK(c.try_send(value) == wait_result::expired);  // nobody is left there
      bide::timeout limit(2ms);
      CHECK_THROWS_AS(c.receive(), bide::timed_out);
    });
  }

  TEST_CASE("every value arrives once, from fibers and threads to fibers and threads") {
    for (const std::size_t capacity : {std::size_t{0}, std::size_t{3}, bide::unbounded}) {
      on_workers([&] {
        bide::channel<int> c(capacity);
        std::atomic<long> sum = 0, count = 0;
        const auto send = [&](int from) {
          for (int i = 0; i < 200; ++i) c.send(from * 1000 + i);
        };
        const auto receive = [&] {
          for (int n : c) {
            sum += n;
            ++count;
          }
        };
        std::thread a(send, 1), b(send, 2), reader(receive);
        {
          bide::group readers;
          for (int i = 0; i < 4; ++i) readers.spawn(receive);
          {
            bide::group writers;
            for (int i = 3; i < 8; ++i) writers.spawn(send, i);
          }
          bide::offload([&] { a.join(), b.join(); });
          c.close();
        }
        bide::offload([&] { reader.join(); });
        CHECK(count == 7 * 200);
        CHECK(sum == (1 + 2 + 3 + 4 + 5 + 6 + 7) * 1000L * 200 + 7 * (199 * 200 / 2));
      });
    }
  }

  // Results of finished I/O arrive on a queue in the order they finish.
  TEST_CASE("results arrive in the order their work finishes") {
    on_workers([] {
      bide::channel<int> finished(bide::unbounded);
      bide::queue<int> queue;
      int pipes[4][2];
      for (auto& ends : pipes) REQUIRE(pipe(ends) == 0);
      bide::group g;
      for (int i : {3, 1, 2, 0}) {
        g.spawn([&, i] {
          for (int turn = 0; turn < 2; ++turn) {
            char byte = 0;
            CHECK(read(pipes[i][0], &byte, 1) == 1);
            finished.send(byte);
            queue.put(byte);
          }
        });
      }
      for (char what : {0, 2, 1, 3, 1, 0, 3, 2}) {
        CHECK(write(pipes[what][1], &what, 1) == 1);
        CHECK(finished.receive() == what);
        CHECK(queue.get() == what);
      }
      g.wait();
      for (auto& ends : pipes) close(ends[0]), close(ends[1]);
    });
  }

  // asyncio.Queue: join() waits for as many task_done() as put(); one more raises ValueError; after shutdown() put() fails.
  TEST_CASE("a queue is joined when everything put is done, and says when too much is done") {
    on_workers([] {
      bide::queue<int> q(2);
      std::atomic<int> dealt_with = 0;
      std::vector<bide::task<void>> workers;
      for (int i = 0; i < 3; ++i) {
        workers.push_back(bide::spawn([&] {
          for (;;) {
            q.get();
            bide::sleep_for(1ms);
            ++dealt_with;
            q.task_done();
          }
        }));
      }
      for (int i = 0; i < 20; ++i) q.put(i);
      q.join();
      CHECK(dealt_with == 20);
      CHECK(error_of([&] { q.task_done(); }, "more often") == EINVAL);
      for (auto& w : workers) w.cancel();
      for (auto& w : workers) (void)w.join(bide::deadline::never());
      CHECK(q.try_put(1));
      CHECK(q.try_put(2));
      CHECK(!q.try_put(3));
      q.shutdown();
      CHECK(error_of([&] { q.put(4); }) == EPIPE);
      CHECK(q.get() == 1);
      CHECK(q.try_get() == 2);
      CHECK(error_of([&] { q.get(); }) == EPIPE);
      q.task_done();
      q.task_done();
      q.join();
    });
  }
}
