#include "lib/fiber/timer_heap.hpp"

#include "lib/base/arena.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {

bool timer_heap::open() noexcept {
  if (!entries_) entries_ = static_cast<entry*>(base::reserve(most * sizeof(entry)));
  return entries_ != nullptr;
}

void timer_heap::close() noexcept {
  if (entries_) sys::raw(SYS_munmap, entries_, most * sizeof(entry));
  entries_ = nullptr;
  count_ = 0;
}

void timer_heap::sink(std::uint32_t i, entry e) noexcept {
  for (;;) {
    const std::uint32_t first = i * 4 + 1;
    if (first >= count_) break;
    const std::uint32_t end = first + 4 < count_ ? first + 4 : count_;
    std::uint32_t least = first;
    for (std::uint32_t child = first + 1; child < end; ++child) {
      if (entries_[child].at < entries_[least].at) least = child;
    }
    if (e.at <= entries_[least].at) break;
    put(i, entries_[least]);
    i = least;
  }
  put(i, e);
}

}  // namespace bide::core
