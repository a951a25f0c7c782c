// The exceptions of the public API: std::system_error with a sentence that says what to do.
#pragma once

#include <string>

namespace bide::task_layer {

// Throws std::system_error with that errno and "bide: <what>".
[[noreturn]] void fail(int error, const std::string& what);

}  // namespace bide::task_layer
