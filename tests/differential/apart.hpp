// Plays a scenario in a process of its own, which may crash or hang.
#pragma once

#include "actor.hpp"

namespace differential {

using lines = std::vector<std::string>;

struct ending {
  lines noted;
  bool well;  // by itself or by a signal, the scenario set up, no descriptor left
};

// On threads if `workers` is 0, else in fibers on so many.
ending run_apart(const script& tell, unsigned workers);

// The part in which two transcripts differ, with a line of what they share before it.
std::string show(const lines& threads, const lines& fibers);

}  // namespace differential
