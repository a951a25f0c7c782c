// Start of a preloaded program: its only kernel thread becomes worker 0's carrier, its main thread the first fiber, on
// its own stack; then the trap door is armed. Where that can't be, the program runs as ever, and one line says why.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>

#include <algorithm>
#include <new>

#include "asm/trap.h"
#include "lib/base/alone.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/number.hpp"
#include "lib/base/text.hpp"
#include "lib/door/dispatch.hpp"
#include "lib/door/interrupt.hpp"
#include "lib/door/patch.hpp"
#include "lib/door/trap.hpp"
#include "lib/fiber/park.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/monitor.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/features.hpp"
#include "lib/sys/raw.hpp"

namespace bide::context {
bool doors_open = false;
bool fsgsbase = false;
bool fs_slips = false;
}
namespace bide::base {
bool one_worker = true;
}

// Where glibc has registered the thread's rseq area (2.35), rseq(2).
extern "C" {
__attribute__((weak)) extern const ptrdiff_t __rseq_offset;
__attribute__((weak)) extern const unsigned __rseq_size;
}

namespace bide::entry {
namespace {

constexpr int pr_set_syscall_user_dispatch = 59;  // prctl(2), Linux 5.11

alignas(core::runtime) char runtime_room[sizeof(core::runtime)];
alignas(core::carrier) char carrier_room[sizeof(core::carrier)];

bool is_off(const char* name) noexcept {
  const char* given = getenv(name);
  return given && (!strcmp(given, "off") || !strcmp(given, "0"));
}

bool wants_patches() noexcept {
  const char* given = getenv("BIDE_PATCH");
  if (!given || !*given || !strcmp(given, "on") || !strcmp(given, "1")) return true;
  if (is_off("BIDE_PATCH")) return false;
  base::text t;
  (t << "bide: BIDE_PATCH=" << given << " is neither on nor off; taken as on\n").to_stderr();
  return true;
}

// Two libbide-preload.so in LD_PRELOAD: the one that was first has the threads, and all that this one calls as well.
bool another_serves() noexcept { return sys::raw(SYS_prctl, pr_set_syscall_user_dispatch, 0, 0, 0, 0) == -EBUSY; }

void say(const char* why) noexcept {
  base::text t;
  (t << "bide: this program runs on native threads: " << why << '\n').to_stderr();
}

// What the kernel does for one kernel thread alone would be wrong for a fiber that moves between them.
void unregister_thread_state(core::thread& main) noexcept {
  unsigned long size = 0;
  robust_list_head* head = nullptr;
  if (sys::raw(SYS_get_robust_list, 0, &head, &size) == 0) main.robust = head;
  sys::raw(SYS_prctl, PR_GET_TID_ADDRESS, &main.clear_tid);  // where the kernel has no such option, nobody can join it
  if (&__rseq_offset && &__rseq_size && __rseq_size) {
    constexpr int unregister = 1;
    constexpr unsigned signature = 0x53053053;
    sys::raw(SYS_rseq, main.thread_pointer + static_cast<std::uintptr_t>(__rseq_offset), 32, unregister, signature);
  }
}

// The kernel puts the program's name at the end of the stack; setrlimit(2): it grows so far from there.
std::uintptr_t lowest_of_stack() noexcept {
  const auto* name = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  rlimit limit{};
  if (!name || sys::raw(SYS_prlimit64, 0, RLIMIT_STACK, nullptr, &limit) != 0) return 0;
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(name) + strlen(name) + context::page) & ~(context::page - 1);
  return limit.rlim_cur < end ? end - limit.rlim_cur : 0;
}

// Can FS be written by the instruction though the kernel doesn't say so? Reading it tells.
bool fs_instructions_work(std::uintptr_t fs) noexcept {
  core::signal_action skip, before;
  skip.function = reinterpret_cast<void*>(+[](int, siginfo_t*, void* context) {
    constexpr int length = 5;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += length;
  });
  skip.flags = SA_SIGINFO | SA_NODEFER | 0x04000000 /* SA_RESTORER */;
  skip.restorer = reinterpret_cast<void*>(bide_gate_restorer);
  if (sys::raw(SYS_rt_sigaction, SIGILL, &skip, &before, sizeof(core::signal_set)) != 0) return false;
  std::uintptr_t found = 0;
  asm volatile("rdfsbase %%rax" : "+a"(found));
  sys::raw(SYS_rt_sigaction, SIGILL, &before, nullptr, sizeof(core::signal_set));
  return found == fs;
}

// By a debugger, which would stop at each fault that puts FS right: proc(5), TracerPid.
bool is_traced() noexcept {
  const long fd = sys::raw(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[4096];
  const long bytes = sys::raw(SYS_read, fd, text, sizeof text - 1);
  sys::raw(SYS_close, fd);
  text[std::max(bytes, 0L)] = 0;
  const char* const tracer = strstr(text, "TracerPid:\t");
  return tracer && tracer[11] != '0';
}

const char* open() noexcept {
  core::name_unknown_feature();
  if (const char* why = door::dispatch_obstacle()) return why;
  auto& first = *::new (carrier_room) core::carrier;
  auto& rt = *::new (runtime_room) core::runtime;
  context::fsgsbase = sys::features().fsgsbase && (getauxval(AT_HWCAP2) & 2);
  context::set_block(first.block);

  core::thread* main = core::make_main_thread();
  if (!main) return "there is no memory";
  sys::raw(SYS_arch_prctl, context::arch_get_fs, &main->thread_pointer);
  sys::raw(SYS_prctl, PR_GET_NAME, main->comm);
  sys::raw(SYS_prctl, PR_GET_PDEATHSIG, &main->death_signal);
  main->stack_low = lowest_of_stack();

  options how;
  how.workers = static_cast<unsigned>(base::number_in_environment("BIDE_WORKERS", 1, 1, core::most_workers));
  how.seed = static_cast<std::uint64_t>(base::number_in_environment("BIDE_SEED", 0, 0, base::never));
  if (how.seed) how.workers = 1;
  rt.for_ever = true;
  if (rt.open(how) != 0) return "it can't make a loop: no descriptors or memory are left";
  rt.main = main;
  for (unsigned i = 0; i < rt.count; ++i) {
    if (core::prepare_worker(*rt.workers[i]) != 0) return "there is no memory";
  }
  core::worker& w = *rt.workers[0];
  if (core::open_carriers(w, first, door::arm_dispatch) != 0) return "there is no memory";
  core::adopt_running(w, *main);

  core::set_slice(how.seed || is_off("BIDE_PREEMPT") ? 0 : base::number_in_environment("BIDE_PREEMPT", 10, 0, 10'000) * 1'000'000);
  if (wants_patches()) door::prepare_patching();
  core::open_signals(*main, door::on_signal);
  if (door::open_trap() != 0) return "SIGSYS can't be handled";
  unregister_thread_state(*main);
  first.block.worker = &w;
  first.block.inside = 0;
  first.block.thread_pointer = main->thread_pointer;
  context::doors_open = true;
  if (door::arm_dispatch() != 0) {
    context::doors_open = false;
    return "the kernel refuses Syscall User Dispatch";
  }
  main->alternate = core::take_signal_stack();
  context::fs_slips = !context::fsgsbase && sys::features().fsgsbase && fs_instructions_work(main->thread_pointer) &&
                      !is_traced();
  context::let_fs_slip();
  return nullptr;
}

[[gnu::constructor(102)]] void start() {
  if (another_serves()) {
    base::text t;
    (t << "bide: another libbide-preload.so serves this program already; take one out of LD_PRELOAD\n").to_stderr();
    return;
  }
  if (const char* why = open()) say(why);
}

}  // namespace
}  // namespace bide::entry
