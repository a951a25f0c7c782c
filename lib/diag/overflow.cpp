// A fiber that runs off its stack hits the guard. Its name, spawn site and stack size are told on the worker's alternate
// signal stack; then the process dies of SIGSEGV as it would have, or the program's own handler has it.
#include <signal.h>
#include <sys/mman.h>

#include <atomic>

#include "lib/base/arena.hpp"
#include "lib/base/spin.hpp"
#include "lib/base/text.hpp"
#include "lib/context/stack.hpp"
#include "lib/diag/fibers.hpp"

namespace bide::diag {
namespace {

constexpr std::size_t alternate_size = 64 * 1024;

std::atomic<std::uint32_t> lock;
unsigned inside;           // guarded by lock: threads between enter_thread and leave_thread
struct sigaction before;   // guarded by lock: what SIGSEGV did before the first of them
constinit thread_local void* alternate __attribute__((tls_model("initial-exec"))) = nullptr;

void on_fault(int number, siginfo_t* info, void* machine) noexcept {
  context::stack s;
  core::fiber* f = core::this_fiber();
  if (f && context::find_stack(info->si_addr, s) && s.base == f->stack.base &&
      static_cast<char*>(info->si_addr) < s.base + context::guard_size) {
    base::text t;
    t << "bide: stack overflow in ";
    describe(t, *f);
    t << ": its stack of ";
    base::append_size(t, s.size());
    t << " is used up; give it more with spawn_options::stack_size or options::stack_size\n";
    t.to_stderr();
  }
  if (before.sa_flags & SA_SIGINFO) {
    if (before.sa_sigaction) return before.sa_sigaction(number, info, machine);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    return before.sa_handler(number);
  }
  // Back to the instruction that faulted, to die of it.
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(number, &standard, nullptr);
  // One that was sent has no such instruction.
  if (info->si_code <= 0) raise(number);
}

}  // namespace

void enter_thread() noexcept {
  {
    base::spin_guard guard(lock);
    if (inside++ == 0) {
      struct sigaction mine {};
      mine.sa_sigaction = on_fault;
      mine.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
      sigaction(SIGSEGV, &mine, &before);
    }
  }
  stack_t now{};
  // A thread that has one keeps it.
  if (sigaltstack(nullptr, &now) != 0 || !(now.ss_flags & SS_DISABLE)) return;
  alternate = base::arena_allocate(alternate_size);
  if (!alternate) return;
  now = {};
  now.ss_sp = alternate;
  now.ss_size = alternate_size - 64;
  sigaltstack(&now, nullptr);
}

void leave_thread() noexcept {
  if (alternate) {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    base::arena_free(alternate);
    alternate = nullptr;
  }
  base::spin_guard guard(lock);
  if (--inside) return;
  struct sigaction now {};
  sigaction(SIGSEGV, nullptr, &now);
  if (now.sa_sigaction == on_fault) sigaction(SIGSEGV, &before, nullptr);
}

}  // namespace bide::diag
