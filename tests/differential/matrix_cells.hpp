// The matrix: one description for each call, under each condition, on each kind of descriptor where it means something.
#pragma once

#include <string>
#include <vector>

#include "actor.hpp"

namespace differential {

// A line that is meant to be noted otherwise in fibers.
struct meant_line {
  std::string natively, in_fibers;
};

struct cell {
  std::string call, condition, kind;
  script tell;
  std::vector<meant_line> meant{};
};

std::vector<cell> matrix_cells();

// Of it, those that wait until a descriptor is ready; that wait for connections, time, locks and queues; that move bytes
// between two descriptors; that wait for processes, signals, words and openers.
void add_readiness(std::vector<cell>&);
void add_waits(std::vector<cell>&);
void add_moves(std::vector<cell>&);
void add_awaits(std::vector<cell>&);

}  // namespace differential
