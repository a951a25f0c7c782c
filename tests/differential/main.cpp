// The processes that play scenarios are forked from this one: doctest's own signal handlers would speak for them.
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

// Scenarios that close a descriptor somebody waits on mean it.
extern "C" const char* __tsan_default_suppressions() { return "race_top:^close$\nrace_top:^dup2$\nrace_top:^dup3$\n"; }
