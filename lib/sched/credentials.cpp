#include "lib/sched/credentials.hpp"

#include <sys/types.h>

#include "lib/base/spin.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {

std::atomic<std::uint32_t> credential_changes{0};

namespace {

constexpr long most_groups = 1024;  // of more the first: less may be done with fewer

struct credentials {
  uid_t user[3];
  gid_t group[3];
  long count;
  gid_t groups[most_groups];
};

std::atomic<std::uint32_t> lock;
credentials last;  // guarded by lock

}  // namespace

void note_credentials(carrier& here) noexcept {
  credentials now;
  sys::raw(SYS_getresuid, &now.user[0], &now.user[1], &now.user[2]);
  sys::raw(SYS_getresgid, &now.group[0], &now.group[1], &now.group[2]);
  now.count = sys::raw(SYS_getgroups, most_groups, now.groups);
  if (now.count < 0) now.count = 0;
  const base::spin_guard guard(lock);
  last = now;
  here.credentials = credential_changes.fetch_add(1, std::memory_order_relaxed) + 1;
}

void adopt_credentials(carrier& here) noexcept {
  credentials now;
  {
    const base::spin_guard guard(lock);
    now = last;
    here.credentials = credential_changes.load(std::memory_order_relaxed);
  }
  sys::raw(SYS_setresuid, -1, 0, -1);  // who may be root again needs to, for the groups
  sys::raw(SYS_setgroups, now.count, now.groups);
  sys::raw(SYS_setresgid, now.group[0], now.group[1], now.group[2]);
  sys::raw(SYS_setresuid, now.user[0], now.user[1], now.user[2]);
}

}  // namespace bide::core
