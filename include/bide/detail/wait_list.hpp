#pragma once

#include <atomic>
#include <cstdint>

namespace bide::core {
struct wait_node;
}

namespace bide::detail {

/// Those who wait for one thing, in order of arrival. Zero-initialised; the code is lib/sync/wait_list.
struct wait_list {
  std::atomic<std::uint32_t> lock{0};  ///< Held for a few instructions; guards the rest.
  core::wait_node* head = nullptr;
  core::wait_node* tail = nullptr;
};

}  // namespace bide::detail
