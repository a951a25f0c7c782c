// asyncio's habits, in ordinary functions: a group, a deadline, a channel, a select.
//
//   build/samples/asyncio
//
// Three producers work for a while each, in any order; what they make arrives as it is finished. All of it has 2 seconds.
#include <bide/bide.hpp>

#include <chrono>
#include <cstdio>
#include <string>

#include <unistd.h>

using namespace std::chrono_literals;

std::string fetch(int page) {
  usleep(static_cast<unsigned>(page * 30'000 % 100'000));  // libc's own: any blocking call would do
  return "page " + std::to_string(page);
}

void show_as_finished() {
  bide::channel<std::string> finished(bide::unbounded);
  bide::in_group([&](bide::group& g) {
    for (int page = 1; page <= 9; ++page) g.spawn([&, page] { finished.send(fetch(page)); });
    for (int left = 9; left;) {
      bide::select(bide::on_receive(finished, [&](std::string what) { std::printf("%s, ", what.c_str()), --left; }),
                   bide::on_time(50ms, [] { std::printf("(quiet) "); }));
    }
    std::puts("done");
  }, {.max_concurrency = 4});
}

void show_a_deadline() {
  try {
    bide::timeout limit(50ms);
    sleep(3600);                        // returns, with errno ETIMEDOUT
    std::perror("sleep");
    bide::sleep_for(1h);                // throws
  } catch (const bide::timed_out& e) {
    std::printf("%s\n", e.what());
  }
}

int main() {
  bide::run([] {
    bide::timeout everything(2s);
    const auto [a, b] = bide::gather([] { return fetch(1); }, [] { return fetch(2); });
    std::printf("%s and %s together\n", a.c_str(), b.c_str());
    show_as_finished();
    show_a_deadline();
  });
}
