#include "compare.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "apart.hpp"

namespace differential {

namespace {

// With DIFFERENTIAL_SHOW in the environment, what is noted on threads goes to stdout: the suite as a story.
void tell_reader(const lines& noted) {
  static const bool wanted = std::getenv("DIFFERENTIAL_SHOW");
  if (wanted) std::printf("%s:%s\n\n", doctest::getContextOptions()->currentTest->m_name, show({}, noted).c_str());
}

void compare_with(const lines& wanted, const script& tell) {
  for (const unsigned workers : {1u, 2u}) {
    const ending fibers = run_apart(tell, workers);
    const bool same = fibers.noted == wanted;
    CHECK_MESSAGE(same, "with workers = ", workers, show(wanted, fibers.noted));
  }
}

}  // namespace

void compare(const script& tell) {
  const ending threads = run_apart(tell, 0);
  REQUIRE_MESSAGE(threads.well, "on threads already:", show({}, threads.noted));
  REQUIRE_FALSE(threads.noted.empty());
  tell_reader(threads.noted);
  compare_with(threads.noted, tell);
}

void compare(const difference& meant, const script& tell) {
  ending threads = run_apart(tell, 0);
  REQUIRE_MESSAGE(threads.well, "on threads already:", show({}, threads.noted));
  const auto line = std::find(threads.noted.begin(), threads.noted.end(), meant.natively);
  REQUIRE_MESSAGE(line != threads.noted.end(), "on threads nobody notes \"", meant.natively, "\":",
                  show({}, threads.noted));
  tell_reader(threads.noted);
  *line = meant.in_fibers;
  INFO("meant to differ because ", meant.because);
  compare_with(threads.noted, tell);
}

bool skipped_under_tsan([[maybe_unused]] std::string_view why) {
#if defined(__SANITIZE_THREAD__)
  std::fprintf(stderr, "skip: %s: %.*s\n", doctest::getContextOptions()->currentTest->m_name, static_cast<int>(why.size()),
               why.data());
  return true;
#else
  return false;
#endif
}

}  // namespace differential
