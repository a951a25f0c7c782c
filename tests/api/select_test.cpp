#include "support.hpp"

#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

using namespace api;

TEST_SUITE("api/select") {
  TEST_CASE("whichever comes first happens, and nothing else") {
    on_workers([] {
      bide::channel<int> a(1), b(1);
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
      auto t = bide::spawn([] { bide::sleep_for(1h); });
      std::string seen;
      auto limit = bide::deadline::after(4ms);
      const auto once = [&] {
        return bide::select(bide::on_receive(a, [&](int n) { seen += "a" + std::to_string(n); }),
                            bide::on_receive(b, [&](std::optional<int> n) { seen += n ? "b" : "closed"; }),
                            bide::on_readable(ends[0], [&] {
                              char byte;
                              CHECK(read(ends[0], &byte, 1) == 1);
                              seen += byte;
                            }),
                            bide::on_end(t, [&] { seen += "end"; }), bide::on_time(limit, [&] { seen += "t"; }));
      };
      CHECK(once() == 4);
      limit = bide::deadline::after(60s);
      a.send(7);
      CHECK(once() == 0);
      auto later = bide::spawn([&] {
        bide::sleep_for(1ms);
        CHECK(write(ends[1], "x", 1) == 1);
      });
      CHECK(once() == 2);
      later.join();
      t.cancel();
      CHECK(once() == 3);
      close(ends[0]), close(ends[1]);
      b.close();
      CHECK(bide::select(bide::on_receive(b, [&](std::optional<int> n) { seen += n ? "b" : "closed"; })) == 0);
      CHECK(seen == "ta7xendclosed");
    });
  }

  TEST_CASE("a send happens when somebody receives, and two selects meet") {
    on_workers([] {
      bide::channel<int> c, d;
      int got = 0, sent = 0;
      auto one = bide::spawn([&] {
        for (int i = 0; i < 200; ++i)
          bide::select(bide::on_send(c, i, [&] { ++sent; }), bide::on_receive(d, [&](int) { ++got; }));
      });
      auto two = bide::spawn([&] {
        for (int i = 0; i < 200; ++i)
          bide::select(bide::on_receive(c, [](int) {}), bide::on_send(d, i, [] {}));
      });
      one.get();
      two.get();
      CHECK(got + sent == 200);
    });
  }

  TEST_CASE("a select never meets itself") {
    bide::run([] {
      bide::channel<int> c;
      CHECK(bide::select(bide::on_send(c, 1, [] {}), bide::on_receive(c, [](int) {}), bide::on_time(2ms, [] {})) == 2);
    });
  }

  TEST_CASE("otherwise does not wait, and a time in the past comes last") {
    bide::run([] {
      bide::channel<int> c(1);
      CHECK(bide::select(bide::on_receive(c, [](int) {}), bide::otherwise([] {})) == 1);
      const auto past = bide::deadline::from_ns(1);
      CHECK(bide::select(bide::on_time(past, [] {}), bide::on_receive(c, [](int) {})) == 0);
      c.send(1);
      CHECK(bide::select(bide::on_time(past, [] {}), bide::on_receive(c, [](int) {})) == 1);
    });
  }

  TEST_CASE("values of many channels arrive once each, whoever selects") {
    on_workers([] {
      bide::channel<int> a, b(2);
      std::atomic<int> sum = 0;
      const int each = 150;
      std::atomic<int> left = 4 * each;
      bide::channel<int> over;
      bide::group g;
      for (int i = 0; i < 2; ++i) {
        g.spawn([&] { for (int n = 0; n < each; ++n) a.send(1); });
        g.spawn([&] { for (int n = 0; n < each; ++n) b.send(10); });
      }
      const auto take = [&](int n) {
        sum += n;
        if (--left == 0) over.close();
      };
      const auto receive = [&] {
        for (bool more = true; more;) {
          bide::select(bide::on_receive(a, take), bide::on_receive(b, take),
                       bide::on_receive(over, [&](std::optional<int>) { more = false; }));
        }
      };
      for (int i = 0; i < 3; ++i) g.spawn(receive);
      std::thread plain(receive);
      g.wait();
      bide::offload([&] { plain.join(); });
      CHECK(sum == 2 * each * 11);
    });
  }

  TEST_CASE("a cancel and a deadline end a select") {
    on_workers([] {
      bide::channel<int> c;
      auto t = bide::spawn([&] { bide::select(bide::on_receive(c, [](int) {})); });
      until_parked(t);
      t.cancel();
      CHECK_THROWS_AS(t.get(), bide::cancelled);
      bide::timeout limit(1ms);
      CHECK_THROWS_AS(bide::select(bide::on_receive(c, [](int) {})), bide::timed_out);
    });
  }

  TEST_CASE("what cannot be waited for is refused") {
    CHECK(error_of([] { bide::select(); }, "over nothing") == EINVAL);
    CHECK(error_of([] { bide::select(bide::on_readable(0, [] {})); }, "outside a fiber") == EPERM);
    bide::run([] {
      CHECK(error_of([] { bide::select(); }, "over nothing") == EINVAL);
      CHECK(error_of([] { bide::select(bide::on_readable(-1, [] {})); }, "-1") == EINVAL);
      const int closed = dup(0);
      close(closed);
      CHECK(error_of([&] { bide::select(bide::on_readable(closed, [] {})); }, "closed") == EBADF);
      bide::task<int> none;
      CHECK(error_of([&] { bide::select(bide::on_end(none, [] {})); }, "empty") == EINVAL);
      bide::channel<int> c;
      c.close();
      CHECK(error_of([&] { bide::select(bide::on_send(c, 1, [] {})); }) == EPIPE);
      CHECK_THROWS_AS(bide::select(bide::otherwise([] { throw 1; })), int);
    });
  }
}
