#include "lib/io/fd_table.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>

#include "lib/base/arena.hpp"
#include "lib/sys/raw.hpp"

namespace bide::io {
namespace {

constexpr int chunk_shift = 12;
constexpr std::size_t chunk_facts = std::size_t{1} << chunk_shift;
constexpr std::size_t chunks = (std::size_t{1} << 31) >> chunk_shift;

std::atomic<fd_facts*> table[chunks];  // 4 MiB of address space; chunks come with their first descriptor
std::atomic<std::uint32_t> share_epoch{1};

}  // namespace

bool fd_facts::is_sole() const noexcept {
  return sole_since.load(std::memory_order_relaxed) == share_epoch.load(std::memory_order_relaxed);
}

fd_facts* facts_if_any(int fd) noexcept {
  if (fd < 0) return nullptr;
  fd_facts* chunk = table[fd >> chunk_shift].load(std::memory_order_acquire);
  return chunk ? chunk + (fd & (chunk_facts - 1)) : nullptr;
}

fd_facts* facts(int fd) noexcept {
  if (fd_facts* there = facts_if_any(fd)) return there;
  if (fd < 0) return nullptr;
  auto* fresh = static_cast<fd_facts*>(base::reserve(chunk_facts * sizeof(fd_facts)));
  if (!fresh) return nullptr;
  fd_facts* expected = nullptr;
  if (!table[fd >> chunk_shift].compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) {
    sys::raw(SYS_munmap, fresh, chunk_facts * sizeof(fd_facts));
    fresh = expected;
  }
  return fresh + (fd & (chunk_facts - 1));
}

void fd_made(int fd) noexcept {
  fd_facts* f = facts(fd);
  if (!f) return;
  fd_forget(*f);
  f->sole_since.store(share_epoch.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

void fd_forget(fd_facts& f) noexcept {
  f.generation.fetch_add(1, std::memory_order_relaxed);
  f.kind.store(fd_kind::unknown, std::memory_order_relaxed);
  f.asked.store(false, std::memory_order_relaxed);
  f.drained.store(false, std::memory_order_relaxed);
  f.low_water.store(false, std::memory_order_relaxed);
  f.sole_since.store(0, std::memory_order_relaxed);
}

void fd_shared(int fd) noexcept {
  if (fd_facts* f = facts_if_any(fd)) f->sole_since.store(0, std::memory_order_relaxed);
}

void all_fds_shared() noexcept { share_epoch.fetch_add(1, std::memory_order_relaxed); }

int adopt_own_fd(int fd) noexcept {
  // Out of the program's way, but the kernel's table and libev's go up to the highest, and each fork copies the kernel's:
  // that of 1024 has 8 KiB. Below a small limit, in its last quarter.
  rlimit limit{};
  sys::raw(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit);
  const rlim_t lowest = std::min<rlim_t>(limit.rlim_cur - limit.rlim_cur / 4, 960);
  const long moved = sys::raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);
  if (moved == -EMFILE || moved == -EINVAL) {
    if (fd_facts* f = facts(fd)) f->ours.store(true, std::memory_order_relaxed);
    return fd;
  }
  sys::raw(SYS_close, fd);
  if (moved < 0) return static_cast<int>(moved);
  if (fd_facts* f = facts(static_cast<int>(moved))) f->ours.store(true, std::memory_order_relaxed);
  return static_cast<int>(moved);
}

void close_own_fd(int fd) noexcept {
  if (fd < 0) return;
  if (fd_facts* f = facts_if_any(fd)) f->ours.store(false, std::memory_order_relaxed);
  sys::raw(SYS_close, fd);
}

bool is_own_fd(int fd) noexcept {
  const fd_facts* f = facts_if_any(fd);
  return f && f->ours.load(std::memory_order_relaxed);
}

}  // namespace bide::io
