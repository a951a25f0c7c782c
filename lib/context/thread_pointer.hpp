// FS and GS, in a preloaded program: FS is the running fiber's thread pointer, GS finds what belongs to the kernel
// thread. By the FSGSBASE instructions where the kernel allows them (AT_HWCAP2 bit 1), else by arch_prctl(2).
//
// Under some hypervisors the instructions work though the kernel doesn't know of them, and a call that writes FS costs as
// much as three others. The kernel forgets there what they wrote: at its next switch of kernel threads FS is what it was
// told last. So it is told `nowhere`, where nothing is ever mapped: FS slips, the program's next access to its TLS
// faults, and SIGSEGV's handler puts FS right.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <sys/syscall.h>

#include "asm/gate.h"

namespace bide::context {

// A kernel thread's own, where its GS points from its start to its end: GS is dear to change. asm/trap.S and asm/gate.S
// know the first fields by their offsets. Its own thread and the handlers on it.
struct carrier_block {
  void* worker = nullptr;                   // core::worker_core that this kernel thread carries; null: none
  void* carrier = nullptr;                  // core::carrier: the kernel thread
  std::uint32_t inside = 0;                 // 1: the runtime runs, not the program; signals wait
  std::atomic<std::uint32_t> signalled{0};  // a signal handler has run since the last look
  std::uint64_t resume_at = 0;              // scratch of bide_gate_tail
  std::uint32_t returned = 0;               // written by bide_gate_tail: the parent is back
  int ev_errno = 0;                         // libev's errno
  carrier_block* self = this;
  std::uintptr_t thread_pointer = 0;        // where its FS is to point; 0: where the kernel says
  void* loop = nullptr;                     // io::loop whose libev code runs
};

#ifdef BIDE_PRELOAD

static_assert(offsetof(carrier_block, inside) == 16 && offsetof(carrier_block, signalled) == 20 &&
              offsetof(carrier_block, resume_at) == 24 && offsetof(carrier_block, returned) == 32 &&
              offsetof(carrier_block, self) == 40);

// True once the doors are armed: from then on every kernel thread's GS points to a block.
extern bool doors_open;

// volatile: another kernel thread may carry the worker after a park.
inline void* this_block_worker() noexcept {
  void* worker;
  asm volatile("movq %%gs:0, %0" : "=r"(worker));
  return worker;
}
inline carrier_block& this_block() noexcept {
  carrier_block* self;
  asm volatile("movq %%gs:40, %0" : "=r"(self));
  return *self;
}

extern bool fsgsbase;  // set before the doors open
extern bool fs_slips;  // set as they open
inline constexpr std::uintptr_t nowhere = 0x4000;  // proc(5): vm.mmap_min_addr is 0x10000, and TLS reaches 0x900 up
inline constexpr long arch_set_gs = 0x1001, arch_set_fs = 0x1002, arch_get_fs = 0x1003;

inline void set_block(carrier_block& b) noexcept {
  if (fsgsbase) {
    asm volatile("wrgsbase %0" ::"r"(&b) : "memory");
  } else {
    bide_gate(SYS_arch_prctl, arch_set_gs, reinterpret_cast<long>(&b), 0, 0, 0, 0);
  }
}
inline void write_fs(std::uintptr_t base) noexcept { asm volatile("wrfsbase %0" ::"r"(base) : "memory"); }
inline void tell_kernel_fs(std::uintptr_t base) noexcept {
  bide_gate(SYS_arch_prctl, arch_set_fs, static_cast<long>(base), 0, 0, 0, 0);
}

inline void set_thread_pointer(std::uintptr_t base) noexcept {
  carrier_block& here = this_block();
  if (here.thread_pointer == base && !fs_slips) return;
  here.thread_pointer = base;
  if (fsgsbase || fs_slips) return write_fs(base);
  tell_kernel_fs(base);
}

// Puts FS where it belongs. Returns whether it had slipped.
inline bool mend_thread_pointer() noexcept {
  if (!fs_slips) return false;
  const std::uintptr_t right = this_block().thread_pointer;
  std::uintptr_t now;
  asm volatile("rdfsbase %0" : "=r"(now));
  if (now == right || !right) return false;
  write_fs(right);
  return true;
}

// The calling kernel thread's FS, which the kernel has set, is from now on written by the instruction alone.
inline void let_fs_slip() noexcept {
  if (!fs_slips) return;
  tell_kernel_fs(nowhere);
  write_fs(this_block().thread_pointer);
}
// A child of the running thread that shares its memory, and returns before the doors are open to it, keeps FS.
inline void hold_fs() noexcept {
  if (fs_slips) tell_kernel_fs(this_block().thread_pointer);
}

#endif

}  // namespace bide::context
