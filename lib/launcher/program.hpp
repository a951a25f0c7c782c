// The program as the kernel would start it: which file its name means, and which binary runs in the end.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/launcher/elf.hpp"

namespace bide::launcher {

struct program {
  std::string path;                  // as found
  std::vector<std::string> scripts;  // from `path` on, those that name the next by #!
  std::string binary;                // what runs: `path`, or the last script's interpreter
  std::optional<elf_facts> elf;      // of the binary
};

/// Finds it as a shell does: in PATH unless there is a slash in its name.
///
/// Errors: failure, with not_found or cannot_execute.
program find_program(const std::string& name);

/// Why the loader would load nothing before it: it runs with ids or capabilities that its caller hasn't. Empty: it would.
std::string privilege_of(const std::string& path);

struct library_list {
  std::vector<std::string> paths;
  std::string complaint;  // the loader's, if one is missing
};

/// What the loader would load with it, by asking glibc's loader, which executes nothing of it.
library_list libraries_of(const program&);

}  // namespace bide::launcher
