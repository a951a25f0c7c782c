#include <bide/bide.hpp>

#include <cstdio>

int main() {
  const int answer = bide::run([] {
    auto task = bide::spawn([](int half) { return 2 * half; }, 21);
    return task.get();
  });
  std::printf("spawned %d\n", answer);
}
