#pragma once

#include <bide/wait.hpp>

#include <cstdint>

namespace bide::detail {

/// What bounds every wait of a fiber from outside, innermost first; on that fiber's stack and its home worker's to change.
struct scope {
  std::int64_t until = 0;                   ///< Waits end then; monotonic ns.
  wait_result how = wait_result::timed_out;  ///< As this: timed_out or cancelled. ready: a shield, nothing further out counts.
  scope* outer = nullptr;
};

}  // namespace bide::detail
