#include <bide/bide.hpp>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <vector>

int main() {
  const auto before = std::chrono::steady_clock::now();
  bide::run([] {
    std::vector<bide::task<void>> all;
    for (int i = 0; i < 50; ++i) all.push_back(bide::spawn([] { usleep(100'000); }));
    for (auto& one : all) one.get();
  });
  const auto took = std::chrono::steady_clock::now() - before;
  std::puts(took < std::chrono::seconds(2) ? "together" : "one after the other");
}
