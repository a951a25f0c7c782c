// Opening a runtime, with reasons.
#pragma once

#include "lib/sched/runtime.hpp"

namespace bide::task_layer {

// Checks the options and makes the workers. Throws std::system_error.
void open(core::runtime&, const options&);

}  // namespace bide::task_layer
