#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#ifdef __SANITIZE_ADDRESS__
// Its allocator looks at the clock now and then, and each look takes a seeded runtime's time.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_release_to_os_interval_ms=-1"; }
#endif
