// Processes and threads that a trapped kernel thread of a linked program makes. The kernel arms none of them.
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include <algorithm>

#include "asm/trap.h"
#include "lib/call/attempt.hpp"
#include "lib/call/serve.hpp"
#include "lib/sched/fork.hpp"

namespace bide::call {
namespace {

// What bide_gate_clone's child finds on its stack.
struct beginning {
  greg_t rdi, rsi, rip;
};

long fork_now(const request& r, bool on_fiber) noexcept {
  if (!on_fiber) return bide_gate(r.nr, r.a, r.b, r.c, r.d, r.e, r.f);
  // No function of libc's is around it that would tell us: pthread_atfork(3).
  core::before_fork();
  const long child = bide_gate(r.nr, r.a, r.b, r.c, r.d, r.e, r.f);
  core::after_fork();
  if (child == 0) core::after_fork_in_child();
  return child;
}

// `top` is where the child's stack begins; the call gets a lower one, of the registers' copy.
long clone_onto(std::uint64_t top, const greg_t* registers, greg_t* copy) noexcept {
  const beginning b{registers[REG_RDI], registers[REG_RSI], registers[REG_RIP]};
  if (const long error = copy_out(reinterpret_cast<void*>(top - sizeof b), &b, sizeof b)) return error;
  return bide_gate_clone(copy);
}

}  // namespace

bool makes_process(long nr) noexcept {
  return nr == SYS_clone || nr == SYS_clone3 || nr == SYS_fork || nr == SYS_vfork;
}

long make_process(const request& r, const greg_t* registers, bool on_fiber) noexcept {
  greg_t copy[NGREG];
  memcpy(copy, registers, sizeof copy);
  std::uint64_t flags = r.nr == SYS_vfork ? CLONE_VM | CLONE_VFORK : 0;
  if (r.nr == SYS_clone) {
    flags = static_cast<std::uint64_t>(r.a);
    copy[REG_RSI] -= static_cast<greg_t>(sizeof(beginning));
    if (r.b) return clone_onto(static_cast<std::uint64_t>(r.b), registers, copy);
  }
  if (r.nr == SYS_clone3) {
    // What is longer than any kernel's, the kernel refuses.
    alignas(clone_args) char room[512] = {};
    auto& a = *reinterpret_cast<clone_args*>(room);
    if (r.b < static_cast<long>(CLONE_ARGS_SIZE_VER0)) return -EINVAL;
    if (r.b > static_cast<long>(sizeof room)) return -E2BIG;
    if (const long error = copy_in(room, reinterpret_cast<void*>(r.a), static_cast<std::size_t>(r.b))) return error;
    flags = a.flags;
    if (a.stack) {
      const std::uint64_t top = a.stack + a.stack_size;
      if (a.stack_size < sizeof(beginning)) return -EINVAL;
      a.stack_size -= sizeof(beginning);
      copy[REG_RDI] = sys::word(room);
      return clone_onto(top, registers, copy);
    }
  }
  if (flags & CLONE_VM) bide_gate_vfork(registers);
  return fork_now(r, on_fiber);
}

}  // namespace bide::call
