#include "lib/sched/thread_timers.hpp"

#include <errno.h>

#include <atomic>

#include "lib/base/arena.hpp"
#include "lib/base/spin.hpp"

namespace bide::core {
namespace {

struct entry {
  sigevent wanted;
  std::uint32_t tid = 0;     // 0: free
  std::uint32_t turn = 0;    // of its use: what a timer that is gone sent is told from the next one's
  int id = -1;
};
constexpr long most = 1 << 14;
constexpr int turn_bits = 16;

std::atomic<std::uint32_t> lock;
entry* entries = nullptr;  // guarded by lock; reserved, so mostly no memory
long highest = 0;          // guarded by lock

}  // namespace

long add_thread_timer(std::uint32_t tid, const sigevent& wanted) noexcept {
  const base::spin_guard guard(lock);
  if (!entries) entries = static_cast<entry*>(base::reserve(most * sizeof(entry)));
  long n = 0;
  while (entries && n < most && entries[n].tid) ++n;
  if (!entries || n == most) return -EAGAIN;
  if (n >= highest) highest = n + 1;
  entry& e = entries[n];
  e.wanted = wanted;
  e.tid = tid;
  e.id = -1;
  e.turn = (e.turn + 1) & ((1 << (31 - turn_bits)) - 1);
  return n | static_cast<long>(e.turn) << turn_bits;
}

void name_thread_timer(long number, int id) noexcept {
  const base::spin_guard guard(lock);
  entry& e = entries[number & ((1 << turn_bits) - 1)];
  e.id = id;
  if (id < 0) e.tid = 0;
}

void drop_thread_timer(int id) noexcept {
  const base::spin_guard guard(lock);
  for (long n = 0; n < highest; ++n) {
    if (entries[n].tid && entries[n].id == id) entries[n].tid = 0;
  }
}

bool read_thread_timer(siginfo_t& info, std::uint32_t& tid) noexcept {
  const int number = info.si_value.sival_int;
  const base::spin_guard guard(lock);
  const long n = number & ((1 << turn_bits) - 1);
  if (n >= highest) return false;
  const entry& e = entries[n];
  if (!e.tid || e.turn != static_cast<std::uint32_t>(number) >> turn_bits) return false;
  tid = e.tid;
  info.si_signo = e.wanted.sigev_signo;
  info.si_value = e.wanted.sigev_value;
  return true;
}

}  // namespace bide::core
