// bide run: becomes the program, with libbide-preload.so loaded before it.
#pragma once

#include <string>
#include <vector>

namespace bide::launcher {

// What the environment says to the preloaded library; empty: as it is, or as the library has it.
struct run_options {
  std::string workers;  // BIDE_WORKERS
  std::string preempt;  // BIDE_PREEMPT
  std::string seed;     // BIDE_SEED
  std::string patch;    // BIDE_PATCH
  std::string disable;  // BIDE_DISABLE
  std::vector<std::string> plugins;  // libraries to preload beside ours: see bide/calls.h
};

/// Returns: never. Errors: failure.
[[noreturn]] void run(const run_options&, char** command);

}  // namespace bide::launcher
