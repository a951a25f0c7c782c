// What the tests of client libraries share: where their server is, and many fibers at once.
#pragma once

#include <bide/bide.hpp>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace clients {

using namespace std::chrono_literals;

// The address that with_server put into the environment. The executable skips its tests without it.
inline std::string address(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? value : "";
}

// Runs `f(i)` in `n` fibers at the same time, and waits for them.
inline void at_once(int n, const std::function<void(int)>& f) {
  std::vector<bide::task<void>> all;
  for (int i = 0; i < n; ++i) all.push_back(bide::spawn([&f, i] { f(i); }));
  for (auto& one : all) one.get();
}

// How long `f` takes, on the wall.
inline std::chrono::milliseconds time_of(const std::function<void()>& f) {
  const auto before = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - before);
}

}  // namespace clients
