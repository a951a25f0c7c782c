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

// Of it, the calls that wait for something else than bytes of one descriptor.
void add_waits(std::vector<cell>&);

// Makes the call in an actor that is cancelled in it; then it could be done.
void cancel_and_look(actor& me, const std::function<long()>& go, const std::function<void()>& free);

}  // namespace differential
