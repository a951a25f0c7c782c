// Two workers of one second and two: together they take two, in the order in which asyncio prints the same program.
//
//   build/samples/workers
//
// sleep is libc's own name. In a fiber it parks; on a plain thread it is the kernel's.
#include <bide/bide.hpp>

#include <chrono>
#include <cstdio>

#include <unistd.h>

void worker(int number) {
  std::printf("worker_%d start\n", number);
  sleep(number);
  std::printf("worker_%d done\n", number);
}

int main() {
  const auto start = std::chrono::steady_clock::now();
  bide::run([] {
    auto first = bide::spawn(worker, 1);
    auto second = bide::spawn(worker, 2);
    std::puts("before await");
    first.get();
    std::puts("awaited worker_1");
    second.get();
    std::puts("awaited worker_2");
  });
  std::printf("%.2f s\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
