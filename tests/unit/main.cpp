#define DOCTEST_CONFIG_IMPLEMENT
// Its handlers would speak where the runtime's own report of a fault is tested.
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#include <doctest/doctest.h>

#include <string_view>
#include <thread>

#include "support/sanitizer.hpp"
#include "support/scene.hpp"

int main(int count, char** arguments) {
  if (count == 3 && arguments[1] == std::string_view("--scene")) return unit::scene::perform(arguments[2]);
  if (unit::tsan) std::thread([] {}).join();  // its own thread comes with the first of ours
  return doctest::Context(count, arguments).run();
}
