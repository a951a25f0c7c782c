#include <bide/fiber_local.hpp>

#include <atomic>
#include <vector>

#include "lib/fiber/park.hpp"
#include "lib/task/locals.hpp"

namespace bide {
namespace task_layer {

// A fiber has few: looked for one after another.
struct locals {
  struct value {
    std::uint64_t key;
    void* it;
    void (*destroy)(void*);
  };
  std::vector<value> values;

  locals() = default;
  locals(const locals&) = delete;
  ~locals() { clear(); }
  // One that is destroyed may ask for others, which go after it.
  void clear() {
    while (!values.empty()) {
      const value last = values.back();
      values.pop_back();
      last.destroy(last.it);
    }
  }
};

namespace {

locals* mine() noexcept {
  if (core::fiber* me = core::this_fiber()) return static_cast<locals*>(me->locals);
  static thread_local locals threads_own;
  return &threads_own;
}

}  // namespace

void destroy_locals(core::fiber& me) noexcept {
  auto* all = static_cast<locals*>(me.locals);
  if (!all) return;
  all->clear();
  me.locals = nullptr;
  delete all;
}

}  // namespace task_layer

namespace detail {

std::uint64_t new_local_key() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

void* find_local(std::uint64_t key) noexcept {
  if (const auto* all = task_layer::mine()) {
    for (const auto& v : all->values) {
      if (v.key == key) return v.it;
    }
  }
  return nullptr;
}

void keep_local(std::uint64_t key, void* value, void (*destroy)(void*)) {
  auto* all = task_layer::mine();
  if (!all) core::this_fiber()->locals = all = new task_layer::locals;
  all->values.push_back({key, value, destroy});
}

}  // namespace detail
}  // namespace bide
