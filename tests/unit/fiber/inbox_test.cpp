#include "lib/fiber/inbox.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "support/sanitizer.hpp"

using namespace bide::core;

namespace {

struct note : message {
  explicit note(std::vector<int>& into, int n) : number(n) {
    about = &into;
    deliver = [](message& m) noexcept {
      static_cast<std::vector<int>*>(m.about)->push_back(static_cast<note&>(m).number);
    };
  }
  int number;
};

}  // namespace

TEST_SUITE("fiber/inbox") {
  TEST_CASE("messages are delivered once, in order of arrival") {
    inbox in;
    in.open();
    std::vector<int> got;
    note a(got, 1), b(got, 2), c(got, 3);
    CHECK(in.empty());
    for (note* n : {&a, &b, &c}) CHECK(in.post(*n));
    CHECK_FALSE(in.empty());
    in.deliver_all();
    CHECK(got == std::vector{1, 2, 3});
    CHECK(in.empty());
    in.deliver_all();
    CHECK(got.size() == 3);
    CHECK(in.post(b));  // one that was delivered may come again
    in.deliver_all();
    CHECK(got == std::vector{1, 2, 3, 2});
  }

  TEST_CASE("a message may post another while it is delivered, itself too") {
    struct again : message {
      inbox* in;
      int left = 3;
    } m;
    inbox in;
    in.open();
    m.in = &in;
    m.deliver = [](message& base) noexcept {
      auto& self = static_cast<again&>(base);
      if (self.left-- > 1) self.in->post(self);
    };
    in.post(m);
    for (int i = 0; i < 3; ++i) in.deliver_all();
    CHECK(m.left == 0);
    CHECK(in.empty());
  }

  TEST_CASE("closing delivers what came before and refuses what comes later") {
    inbox in;
    std::vector<int> got;
    note a(got, 1), b(got, 2);
    CHECK_FALSE(in.post(a));  // not open yet
    in.open();
    CHECK(in.post(a));
    in.close();
    CHECK(got == std::vector{1});
    CHECK_FALSE(in.post(b));
    in.open();
    CHECK(in.post(b));
    in.close_unread();
    CHECK(got == std::vector{1});
    CHECK_FALSE(in.post(b));
  }

  TEST_CASE("nothing is lost between threads that post and the worker that delivers and closes") {
    struct count : message {
      std::atomic<int> delivered{0};
    };
    const int each = unit::rounds(5000);
    inbox in;
    in.open();
    std::atomic<int> accepted{0}, posting{3};
    std::vector<std::vector<count>> messages;
    for (int t = 0; t < 3; ++t) messages.emplace_back(static_cast<std::size_t>(each));
    std::vector<std::thread> threads;
    for (auto& mine : messages) {
      threads.emplace_back([&] {
        for (count& m : mine) {
          m.deliver = [](message& base) noexcept { ++static_cast<count&>(base).delivered; };
          if (in.post(m)) ++accepted;
        }
        --posting;
      });
    }
    while (posting > 1) in.deliver_all();
    in.close();  // while the last one may still post
    for (std::thread& t : threads) t.join();
    int sum = 0;
    bool once = true;
    for (auto& mine : messages) {
      for (count& m : mine) {
        sum += m.delivered;
        once = once && m.delivered <= 1;
      }
    }
    CHECK(once);
    CHECK(sum == accepted);
  }
}
