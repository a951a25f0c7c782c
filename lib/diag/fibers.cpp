#include "lib/diag/fibers.hpp"

#include <atomic>

#include "lib/sys/raw.hpp"

namespace bide::diag {
namespace {

std::atomic<worker_list> list_workers{nullptr};

const char* state_name(core::fiber_state s) noexcept {
  switch (s) {
    case core::fiber_state::fresh: return "not started";
    case core::fiber_state::ready: return "ready";
    case core::fiber_state::parked: return "parked";
    case core::fiber_state::finished: return "finished";
  }
  return "?";
}

}  // namespace

void set_worker_list(worker_list list) noexcept { list_workers.store(list, std::memory_order_release); }

void describe(base::text& t, const core::fiber& f) noexcept {
  t << "fiber " << f.id;
  if (f.name_length) t << " '" << f.given_name() << '\'';
  if (f.where.file) {
    t << " (spawned at " << f.where.file << ':' << f.where.line << ')';
  } else if (f.where.caller) {
    t << " (spawned from " << f.where.caller << ')';
  }
}

void list_fibers(int fd) noexcept {
  constexpr std::size_t most_lines = 100;
  core::worker_core* workers[core::most_workers];
  const worker_list list = list_workers.load(std::memory_order_acquire);
  const std::size_t count = list ? list(workers, core::most_workers) : 0;
  std::size_t lines = 0, left_out = 0;
  for (std::size_t i = 0; i < count; ++i) {
    for (const core::fiber& f : workers[i]->all) {
      if (++lines > most_lines) {
        ++left_out;
        continue;
      }
      base::text t;
      t << "  ";
      describe(t, f);
      t << ": " << (workers[i]->current == &f ? "running" : state_name(f.state));
      if (f.state == core::fiber_state::parked && f.reason.what) {
        t << ", waits for " << f.reason.what;
        if (f.reason.subject >= 0) t << ' ' << f.reason.subject;
      }
      t << '\n';
      sys::raw(SYS_write, fd, t.view().data(), t.view().size());
    }
  }
  if (left_out) {
    base::text t;
    t << "  and " << std::uint64_t{left_out} << " more\n";
    sys::raw(SYS_write, fd, t.view().data(), t.view().size());
  }
}

}  // namespace bide::diag
