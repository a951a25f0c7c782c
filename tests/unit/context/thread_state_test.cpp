// errno and exceptions follow the fiber.
#include "lib/context/thread_state.hpp"

#include <doctest/doctest.h>

#include <exception>
#include <stdexcept>
#include <string>

#include "support/runtime.hpp"

using namespace unit;

namespace {

// Parks while it is destroyed by an exception.
struct parks_in_destructor {
  int& seen;
  ~parks_in_destructor() {
    const int before = std::uncaught_exceptions();
    for (int i = 0; i < 5; ++i) bide::yield();
    seen = before == std::uncaught_exceptions() ? before : -1;
  }
};

// Catches, throws on inside the handler, and parks at every step.
std::string nested(const std::string& name) {
  std::string said;
  try {
    throw std::runtime_error(name + "-outer");
  } catch (const std::exception& outer) {
    bide::yield();
    try {
      throw std::logic_error(name + "-inner");
    } catch (const std::exception& inner) {
      bide::yield();
      said += inner.what();
    }
    bide::yield();
    said += ' ';
    said += outer.what();
    try {
      throw;  // the one that is handled here, not another fiber's
    } catch (const std::runtime_error& again) {
      bide::yield();
      said += ' ';
      said += again.what();
    }
  }
  return said + (std::current_exception() ? " left" : "");
}

}  // namespace

TEST_SUITE("context/thread_state") {
  TEST_CASE("errno is a fiber's own, and zero at its start") {
    on_workers([] {
      const auto keeps = [](int error) {
        return bide::spawn([error] {
          bool right = errno == 0;
          for (int i = 0; i < 50; ++i) {
            errno = error + i;
            bide::yield();
            right = right && errno == error + i;
            bide::sleep_for(std::chrono::microseconds(1));
            right = right && errno == error + i;
          }
          return right;
        });
      };
      errno = 3;
      auto a = keeps(1000), b = keeps(2000), c = keeps(3000);
      CHECK(a.get());
      CHECK(b.get());
      CHECK(c.get());
      CHECK(errno == 3);
    });
  }

  TEST_CASE("errno is left as it was by everything of the API that parks or not") {
    in_runtime([] {
      bide::mutex m;
      bide::semaphore s(1);
      errno = 11;
      bide::yield();
      bide::sleep_for(std::chrono::microseconds(10));
      auto t = bide::spawn([] { errno = 12; });
      t.join();
      m.lock();
      CHECK(m.lock_until(bide::deadline::after(std::chrono::microseconds(10))) == bide::wait_result::expired);
      m.unlock();
      s.acquire();
      bide::offload([] { errno = 13; });
      CHECK(errno == 11);
    });
  }

  TEST_CASE("std::uncaught_exceptions is a fiber's own while destructors park") {
    on_workers([] {
      const auto unwinds = [] {
        return bide::spawn([] {
          int seen = 0;
          try {
            const parks_in_destructor parks{seen};
            throw 1;
          } catch (int) {
          }
          return seen;
        });
      };
      auto a = unwinds(), b = unwinds();
      for (int i = 0; i < 4; ++i) {
        CHECK(std::uncaught_exceptions() == 0);
        bide::yield();
      }
      CHECK(a.get() == 1);
      CHECK(b.get() == 1);
    });
  }

  TEST_CASE("a handler that parks finds its own exception again, nested ones too") {
    on_workers([] {
      auto a = bide::spawn(nested, "a"), b = bide::spawn(nested, "b"), c = bide::spawn(nested, "c");
      CHECK(nested("main") == "main-inner main-outer main-outer");
      CHECK(a.get() == "a-inner a-outer a-outer");
      CHECK(b.get() == "b-inner b-outer b-outer");
      CHECK(c.get() == "c-inner c-outer c-outer");
    });
  }

  TEST_CASE("a fiber spawned in a handler begins outside of it") {
    in_runtime([] {
      try {
        throw 1;
      } catch (int) {
        auto t = bide::spawn([] { return std::current_exception() == nullptr && std::uncaught_exceptions() == 0; });
        CHECK(t.get());
        CHECK(std::current_exception() != nullptr);
      }
    });
  }

  TEST_CASE("an exception is thrown in one fiber and handled in another while the first goes on") {
    on_workers([] {
      std::exception_ptr passed;
      auto thrower = bide::spawn([&] {
        try {
          throw std::runtime_error("passed on");
        } catch (...) {
          passed = std::current_exception();
          bide::yield();
          return std::string("done");
        }
      });
      CHECK(thrower.get() == "done");
      CHECK_THROWS_WITH(std::rethrow_exception(passed), "passed on");
    });
  }
}
