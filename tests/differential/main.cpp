// The processes that play scenarios are forked from this one: doctest's own signal handlers would speak for them.
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

// What ThreadSanitizer is not to report, by the file of any frame:
// - scenarios that close a descriptor on which somebody waits mean it;
// - it heeds no atomic within poll, epoll_wait and the sleeps, which it takes for the kernel's (its BlockingCall), so that
//   locks taken by their doors count for nothing.
extern "C" const char* __tsan_default_suppressions() {
  return "race:descriptor_test.cpp\nrace:symbols_readiness.cpp\nrace:symbols_time.cpp\n";
}
