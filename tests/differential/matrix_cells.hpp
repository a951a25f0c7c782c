// The matrix: one description for each call, under each condition, on each kind of descriptor where it means something.
#pragma once

#include <string>
#include <vector>

#include "actor.hpp"

namespace differential {

struct cell {
  std::string call, condition, kind;
  script tell;
};

std::vector<cell> matrix_cells();

}  // namespace differential
