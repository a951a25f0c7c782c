// bide check: says what would be served of a program, and why not the rest.
#pragma once

#include <string>

namespace bide::launcher {

/// Prints it on stdout. Returns: 0 if the program's threads would be fibers, else 1. Errors: failure.
int check(const std::string& name);

}  // namespace bide::launcher
