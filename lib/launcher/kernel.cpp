#include "lib/launcher/kernel.hpp"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "lib/sys/features.hpp"
#include "lib/sys/raw.hpp"

namespace bide::launcher {
namespace {

constexpr long pr_set_syscall_user_dispatch = 59, dispatch_off = 0;
constexpr long arch_shstk_status = 0x5005;
constexpr long madv_guard_install = 102;
constexpr unsigned long hwcap2_fsgsbase = 2;

bool has_guards() {
  constexpr std::size_t page = 4096;
  void* at = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return false;
  const bool has = sys::raw(SYS_madvise, at, page, madv_guard_install) == 0;
  munmap(at, page);
  return has;
}

// Busy: this process is served itself.
bool has_dispatch() {
  const long answer = sys::raw(SYS_prctl, pr_set_syscall_user_dispatch, dispatch_off, 0, 0, 0);
  return answer == 0 || answer == -EBUSY;
}

// No ring has no entries: a kernel that would make one finds that out first (io_uring_setup(2)).
bool has_rings() {
  const long answer = sys::raw(SYS_io_uring_setup, 0, nullptr);
  return answer != -ENOSYS && answer != -EPERM && answer != -EACCES;
}

bool has_shadow_stacks() {
  unsigned long status = 0;
  return sys::raw(SYS_arch_prctl, arch_shstk_status, &status) == 0;
}

}  // namespace

kernel_facts ask_kernel() {
  const sys::feature_set& allowed = sys::features();
  kernel_facts facts{};
  facts.trap_disabled = !allowed.trap;
  facts.trap = allowed.trap && has_dispatch();
  facts.io_uring = allowed.io_uring && has_rings();
  facts.guard_install = allowed.guard_install && has_guards();
  facts.fsgsbase = allowed.fsgsbase && (getauxval(AT_HWCAP2) & hwcap2_fsgsbase);
  facts.shadow_stack = has_shadow_stacks();
  facts.filtered = sys::raw(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0) > 0;
  return facts;
}

}  // namespace bide::launcher
