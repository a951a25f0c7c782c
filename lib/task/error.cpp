#include "lib/task/error.hpp"

#include <bide/wait.hpp>

namespace bide::task_layer {

void fail(int error, const std::string& what) {
  throw std::system_error(std::error_code(error, std::generic_category()), "bide: " + what);
}

}  // namespace bide::task_layer

namespace bide::detail {

void throw_ended(wait_result how) {
  switch (how) {
    case wait_result::cancelled: throw cancelled{};
    case wait_result::closed: task_layer::fail(EBADF, "what was waited on is closed");
    default: throw timed_out{};
  }
}

}  // namespace bide::detail
