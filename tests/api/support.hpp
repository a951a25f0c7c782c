// What the API's tests share.
#pragma once

#include <doctest/doctest.h>

#include <bide/bide.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>

namespace api {

using namespace std::chrono_literals;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

#if defined(__SANITIZE_THREAD__)
inline constexpr bool tsan = true;
#else
inline constexpr bool tsan = false;
#endif

// Runs `f` in a runtime with one worker, with two and with four.
template <class F>
void on_workers(F f) {
  for (const unsigned workers : {1u, 2u, 4u}) {
    CAPTURE(workers);
    bide::run(f, {.workers = workers});
  }
}

// What a process of its own came to: its status, and all it wrote to stderr.
struct ending {
  int status = 0;
  std::string text;
  // Shows what it wrote if it did not.
  bool exited(int code) const {
    if (WIFEXITED(status) && WEXITSTATUS(status) == code) return true;
    fprintf(stderr, "the child's status is %#x; it wrote:\n%s\n", static_cast<unsigned>(status), text.c_str());
    return false;
  }
  bool died_of(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
  bool says(std::string_view words) const { return text.find(words) != text.npos; }
};

// What another thread held of a sanitizer at a fork the child waits for in vain, and ThreadSanitizer, which has a thread of its
// own, lets it start no threads.
inline void until_alone() {
  const auto others = [] {
    const std::filesystem::directory_iterator all("/proc/self/task");
    return std::distance(begin(all), end(all)) - (tsan ? 2 : 1);
  };
  for (int i = 0; sanitized && i < 1000 && others() > 0; ++i) usleep(10'000);
}

// Runs `body` in a child, which has 20 s; one that returns exits with 0.
template <class F>
ending in_child(F body) {
  until_alone();
  int out[2];
  REQUIRE(pipe(out) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);
    dup2(out[1], STDERR_FILENO);
    close(out[0]);
    close(out[1]);
    body();
    _exit(0);
  }
  close(out[1]);
  ending e;
  char room[4096];
  for (ssize_t n; (n = read(out[0], room, sizeof room)) > 0;) e.text.append(room, static_cast<std::size_t>(n));
  close(out[0]);
  waitpid(child, &e.status, 0);
  return e;
}

// The std::system_error that `f` throws: its errno, and that what() has those words. 0 if it throws none.
template <class F>
int error_of(F f, std::string_view words = "") {
  try {
    f();
  } catch (const std::system_error& e) {
    if (std::string_view(e.what()).find(words) == std::string_view::npos) {
      FAIL_CHECK(e.what());
      return 0;
    }
    return e.code().value();
  }
  return 0;
}

// Lets others run until the task waits for something, or has ended.
template <class Task>
void until_parked(const Task& t) {
  while (t.state() < bide::task_state::parked) bide::yield();
}

// Lets those who wait for it go one after another, from 0.
class in_turn {
 public:
  explicit in_turn(std::size_t count) : gates_(count) {
    gates_[0].set();
  }
  void wait_for(int place) { gates_[static_cast<std::size_t>(place)].wait(); }
  void end(int place) {
    const auto next = static_cast<std::size_t>(place) + 1;
    if (next < gates_.size()) gates_[next].set();
  }

 private:
  std::deque<bide::event> gates_;
};

// A fiber that does nothing but have turns.
class ticker {
 public:
  ticker() : fiber_(bide::spawn([this] {
    for (; !over_; ++turns_) bide::sleep_for(1ms);
  })) {}
  ~ticker() {
    over_ = true;
    fiber_.join();
  }
  ticker(const ticker&) = delete;

  // On another kernel thread than its worker's: waits until it has had three turns more. False: it gets none for so long.
  bool goes_on(std::chrono::milliseconds patience = 10s) const {
    const auto end = std::chrono::steady_clock::now() + patience;
    for (const long before = turns_; turns_ < before + 3; usleep(500))
      if (std::chrono::steady_clock::now() > end) return false;
    return true;
  }

 private:
  std::atomic<long> turns_ = 0;
  std::atomic<bool> over_ = false;
  bide::task<void> fiber_;
};

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace api
