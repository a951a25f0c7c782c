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

// Of it, those that wait until a descriptor is ready, and those that wait for something else than bytes of one descriptor.
void add_readiness(std::vector<cell>&);
void add_waits(std::vector<cell>&);

}  // namespace differential
