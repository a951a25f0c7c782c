// What capi.c, which is C99, found: the line of the check that failed.
#include "capi.h"
#include "support.hpp"

TEST_SUITE("api/capi") {
  TEST_CASE("C spawns, joins, cancels and watches tasks") { CHECK(capi_tasks() == 0); }
  TEST_CASE("C bounds waits by deadlines") {
    CHECK(capi_timeouts() == 0);
    CHECK(capi_timeout_outside() == 0);
  }
  TEST_CASE("C has groups whose first failure ends the rest") { CHECK(capi_groups() == 0); }
  TEST_CASE("C passes pointers through channels and selects over them") { CHECK(capi_channels() == 0); }
  TEST_CASE("C locks, signals and meets") { CHECK(capi_locks() == 0); }
  TEST_CASE("C wraps calls, sees and refuses them, and lets them be") { CHECK(capi_wraps() == 0); }
  TEST_CASE("C starts a runtime beside its threads, and steps one") { CHECK(capi_runtimes() == 0); }
  TEST_CASE("null handles and calls outside a runtime are answered with an errno") { CHECK(capi_bad_input() == 0); }
}
