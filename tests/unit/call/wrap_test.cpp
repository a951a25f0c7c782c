// What wrapped calls leave in the table.
#include <doctest/doctest.h>

#include <bide/calls.hpp>
#include <sys/syscall.h>

#include "lib/call/table.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::call::entry;
using bide::call::standard_entry;

TEST_SUITE("call/wrap") {
  TEST_CASE("the table has its own entries until a number is wrapped, and again when the last wrapper has gone") {
    in_runtime([] {
      const auto wrapped = [](long nr) { return entry(nr) != standard_entry(nr); };
      const auto untouched = [&](long but) {
        for (long nr = 0; nr < bide::call::numbers; ++nr)
          if (nr != but && wrapped(nr)) return false;
        return true;
      };
      CHECK(untouched(-1));
      for (const long nr : {SYS_read, SYS_futex, SYS_getpid}) {  // the last has none of its own
        CAPTURE(nr);
        const auto pass = [](bide::passing_call& c) { return c.go_on(); };
        bide::call_wrapper outer(nr, pass), inner(nr, pass, bide::whose_calls::this_fibers);
        CHECK(wrapped(nr));
        CHECK(untouched(nr));
        outer.remove();
        CHECK(wrapped(nr));
        inner.remove();
        CHECK(untouched(-1));
      }
    });
  }
}
