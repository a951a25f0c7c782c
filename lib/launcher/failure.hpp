// How the launcher ends when the program can't be started: one line, and an exit status as env(1) and nohup(1) have it.
#pragma once

#include <stdexcept>
#include <string>

namespace bide::launcher {

enum class status : int { own_error = 125, cannot_execute = 126, not_found = 127 };

struct failure : std::runtime_error {
  failure(status s, const std::string& why) : std::runtime_error(why), code(s) {}
  status code;
};

}  // namespace bide::launcher
