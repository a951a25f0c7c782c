// The calls of the table, each with all that it needs to succeed, to be put under faults.
#pragma once

#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace unit {

struct faulty_call {
  const char* name;
  long nr;
  long attempted;           // what it asks the kernel
  std::vector<int> errors;  // that its manual page knows, of those that come from outside
  std::function<long()> make;
  // What an attempt says that would have waited; then it parks, and asks again.
  std::optional<long> dry{};
  // Leaves it nothing to succeed with, so that it waits; gives it what it needs for several times.
  std::function<void()> starve{}, feed{};
  bool restarts = true;    // signal(7): after a handler with SA_RESTART
  bool contended = true;   // another may be quicker after its wake, and have it wait on
  bool elsewhere = false;  // it waits by the call itself, on another kernel thread
  std::function<bool(long)> well = [](long answer) { return answer >= 0; };

  faulty_call& answers(std::function<bool(long)> so) {
    well = std::move(so);
    return *this;
  }
  faulty_call& parks(long would_wait) {
    dry = would_wait;
    return *this;
  }
  faulty_call& parks_alone(long would_wait) {
    contended = false;
    return parks(would_wait);
  }
  faulty_call& waits_elsewhere(long would_wait) {
    elsewhere = true;
    return parks_alone(would_wait);
  }
  faulty_call& between(std::function<void()> empty, std::function<void()> full) {
    starve = std::move(empty);
    feed = std::move(full);
    return *this;
  }
  faulty_call& never_restarts() {
    restarts = false;
    return *this;
  }
};

using faulty_calls = std::vector<faulty_call>;

// By family. What they use lives as long as they do.
faulty_calls faulty_transfers();    // bytes and messages through a descriptor
faulty_calls faulty_splices();      // from one descriptor to another
faulty_calls faulty_waits();        // for readiness, connections, children, signals, completions
faulty_calls faulty_queues();       // queues, semaphores and locks
faulty_calls faulty_descriptors();  // what makes, changes and closes them
faulty_calls faulty_files();        // files, and what has no form of its own that never waits

inline faulty_calls all_faulty_calls() {
  faulty_calls all;
  for (const auto family : {faulty_transfers, faulty_splices, faulty_waits, faulty_queues, faulty_descriptors, faulty_files}) {
    for (faulty_call& c : family()) all.push_back(std::move(c));
  }
  return all;
}

}  // namespace unit
