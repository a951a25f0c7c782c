// Wrapped calls: what a program has put around entries of the table. See bide/calls.h.
#pragma once

#include "lib/call/table.hpp"

namespace bide::call {

// The call beneath its wrappers; of a preloaded program, with the signals that come meanwhile.
long beneath_wrappers(long nr, const long (&arguments)[6]);

}  // namespace bide::call
