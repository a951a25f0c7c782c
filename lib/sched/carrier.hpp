// The kernel threads of a preloaded program. A worker is not its kernel thread: one carries it, and when that one gets
// stuck in a call of the program's, another takes the worker over while the stuck one keeps just the fiber that made the
// call. Back from the kernel it finds its worker gone, has the fiber made ready at home, and becomes a spare.
//
// Fibers own their TLS, so nothing of them depends on which kernel thread runs them; the worker is found by GS, in the
// kernel thread's own block. While a kernel thread waits for the kernel on behalf of a thread its block names no worker:
// so a signal handler there touches nothing that is another's by then.
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/context/thread_pointer.hpp"
#include "lib/fiber/fiber.hpp"
#include "lib/sched/threads.hpp"
#include "lib/sched/worker.hpp"

namespace bide::core {

struct carrier {
  context::carrier_block block;          // where its GS points
  fiber idle;                            // its own context, on its own stack
  std::atomic<std::uint32_t> order{0};   // counts what it was given; its futex while it is a spare
  std::atomic<worker_core*> given{nullptr};
  long tid = 0;
  void* stack = nullptr;                 // null: the process's first
  unsigned long stack_bytes = 0;
  carrier* next = nullptr;               // guarded by the list's lock: the spares
  bool served_ring = false;              // the kernel would end its requests with it: io_uring(7)
  std::uint32_t credentials = 0;         // which change of them it has followed: sched/credentials.hpp
  worker_core* lent = nullptr;           // what it carried, and for whom, when it went into bide_gate_tail
  thread* tail_thread = nullptr;
  alignas(64) char signal_stack[32 * 1024];  // what the kernel puts on it is taken off before other signals may come
};

// The calling kernel thread, the process's first, becomes the carrier of worker 0. `arm` arms the trap door on a kernel
// thread. Returns 0 or -errno.
int open_carriers(worker_core& first, carrier& me, int (*arm)() noexcept) noexcept;
// Gives a worker's own context a stack; any carrier can run it then.
int prepare_worker(worker_core&) noexcept;
// With the program's second thread: has kernel threads carry the workers beyond the first. Worker 0.
void start_workers(runtime&) noexcept;

// maybe: the monitor takes the worker away when it takes long. surely: another carries it from the start.
enum class waiting : std::uint8_t { maybe, surely };

// A call of the running thread's that may wait in the kernel. A signal ends it with -EINTR as the kernel would, and so
// may another kernel thread's wish: the caller looks whether there is a signal for it, and asks again if not.
long call_kernel(long nr, long a, long b, long c, long d, long e, long f, waiting = waiting::maybe) noexcept;

// Gives the worker of a kernel thread that waits in the kernel to another. False when it is back.
bool take_from_kernel_thread(worker_core&, void* holder) noexcept;

// The kernel ends a kernel thread's io_uring requests with it: this one, and those that carry its worker, go on for good.
void keep_kernel_thread() noexcept;

// Has a call that waits in the kernel end with -EINTR. Any thread.
void interrupt_carrier(carrier&) noexcept;

// Before bide_gate_tail, and after it, before anything else of the runtime: the parent takes the worker back.
// The child runs with `mask`.
void lend_for_tail(signal_set mask) noexcept;
// Whether the calling kernel thread has just come out of bide_gate_tail; then it takes the worker back, inside the runtime.
bool tail_has_returned() noexcept;
void return_from_tail() noexcept;
inline void back_from_tail() noexcept {
  if (!tail_has_returned()) [[likely]] return;
  return_from_tail();
  context::this_block().inside = 0;
}

void carriers_after_fork(worker_core& mine) noexcept;

// A kernel thread of ours with all signals blocked. `run` does not return; its GS is still its maker's. Returns its id
// or -errno.
long start_kernel_thread(void (*run)(void*), void* argument, char* stack, unsigned long bytes) noexcept;

unsigned carriers() noexcept;

// On the kernel thread that carries `w`: takes the signals again that are its to take.
void open_to_signals(const worker_core& w) noexcept;
// The calling kernel thread takes none but faults and traps.
void close_to_signals() noexcept;
// What it is to block from the return of a handler on, which comes next.
signal_set mask_to_return_with(const worker_core& w) noexcept;
// Where the kernel puts what a signal interrupts on the calling kernel thread: sigaltstack(2).
stack_t signal_stack_here() noexcept;
// Has it do so. Returns what it had before.
stack_t take_signal_stack() noexcept;

}  // namespace bide::core
