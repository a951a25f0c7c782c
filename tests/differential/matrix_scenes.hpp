// Calls that wait for something else than bytes of one descriptor, and what can be done about it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "matrix_cells.hpp"
#include "things.hpp"

namespace differential {

// A call that would wait. What is empty there isn't.
struct scene {
  std::function<long()> go{};
  std::function<long()> at_once{};      // in the form that doesn't wait
  std::function<long()> in_time{};      // in the form that waits 60 ms at most
  std::function<long()> go_wrong{};     // with a bad pointer
  std::function<long()> go_nowhere{};   // with a bad descriptor, or what stands for one
  std::function<long()> go_empty{};     // of no bytes
  std::function<void()> free{};         // it can be done now; else it ends by itself, or by a signal alone
  std::function<void()> close{};        // closes what is waited on
  std::function<void()> shut{};         // shuts it down
  std::function<std::string()> rest{};  // what another sees afterwards
  milliseconds takes{0};                // of what ends by itself
  std::vector<meant_line> meant_if_closed{};
};

struct waiting {
  std::string call, kind;
  bool is_cancelled;  // by pthread_cancel: libc's call is a cancellation point
  scene (*set)(milliseconds length);  // `length`: of what ends by itself
};

constexpr milliseconds limit = 60ms, long_enough = 5s;

timespec to_timespec(milliseconds length);
timespec from_now(clockid_t, milliseconds length);
std::shared_ptr<fd> shared(fd);

// Each under its conditions.
void add_scenes(std::vector<cell>&, std::span<const waiting>);

}  // namespace differential
