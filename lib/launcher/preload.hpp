// The library that is preloaded: where it is, and how the environment names it.
#pragma once

#include <string>
#include <vector>

#include "lib/launcher/kernel.hpp"
#include "lib/launcher/program.hpp"

namespace bide::launcher {

/// Errors: failure with own_error, if it isn't where it is built or installed, or the loader couldn't be told its name.
std::string preload_library();

/// What the environment and /etc/ld.so.preload load before every program already, libbide-preload.so's of others apart.
struct other_preloads {
  std::vector<std::string> kept;
  std::string another_bide;  // one that isn't `ours`
};
other_preloads find_other_preloads(const std::string& ours);

/// LD_PRELOAD with `ours` first, and all that was there. Errors: failure, if another bide is among it.
std::string preload_list(const std::string& ours, const std::vector<std::string>& plugins);

/// Why the program runs on native threads whatever we do, and what helps. Empty: its threads would be fibers.
std::string obstacle(const program&, const kernel_facts&);

}  // namespace bide::launcher
