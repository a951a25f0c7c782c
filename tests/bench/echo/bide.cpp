// The blocking echo server with a fiber for each connection, on one worker.

#include "serve.hpp"

#include <bide/bide.hpp>

int main(int count, char** arguments) {
  const bench::server how(count, arguments);
  bide::run(
      [&how] {
        bench::accept_each(
            how, [&how](int connection) { bide::spawn([&how, connection] { bench::serve(how, connection); }); });
      },
      {.stack_size = 64 * 1024});
}
