#include "progress.hpp"

#include <fmt/format.h>

#include <cstdio>

#include <unistd.h>

progress::progress() : terminal_(isatty(STDERR_FILENO)), next_(std::chrono::steady_clock::now()) {}

progress::~progress() {
  if (open_) std::fputc('\n', stderr);
}

void progress::put(std::string_view line, bool now) {
  using namespace std::chrono_literals;
  const auto time = std::chrono::steady_clock::now();
  if (!now && time < next_) return;
  next_ = time + (terminal_ ? 100ms : 1000ms);
  // ESC [ K clears what a longer line left behind.
  fmt::print(stderr, fmt::runtime(terminal_ ? "\r{}\033[K" : "{}\n"), line);
  std::fflush(stderr);
  open_ = terminal_;
}
