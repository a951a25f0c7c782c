#include "lib/task/error.hpp"

#include <system_error>

namespace bide::task_layer {

void fail(int error, const std::string& what) {
  throw std::system_error(std::error_code(error, std::generic_category()), "bide: " + what);
}

}  // namespace bide::task_layer
