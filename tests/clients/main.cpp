// Skips, with the reason, where with_server has told of no server.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#ifndef SERVER_VARIABLE
#error "the environment variable that tells where the server is"
#endif

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  if (!std::getenv(SERVER_VARIABLE)) {
    std::puts("skip: " SERVER_VARIABLE " is not set; run this by tests/clients/with_server");
    return 77;
  }
  return context.run();
}
