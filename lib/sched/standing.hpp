// Where and how urgently a thread runs, in a preloaded program: affinity, policy, priority, nice value, I/O priority.
//
// The kernel keeps these for kernel threads, and a worker runs many threads. So what a thread is given is remembered and told
// back as the kernel would, and moves no worker. What is set before the program's second thread begins is the kernel's own.
#pragma once

#include <atomic>
#include <cstdint>
#include <ctime>

namespace bide::core {

struct thread;

// sched_setattr(2), as of Linux 5.3
struct scheduling {
  std::uint32_t size, policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t times[3];
  std::uint32_t utilization[2];
};

// Never changed once a thread has it, so that threads share what they inherit.
struct standing {
  std::atomic<std::uint32_t> holders{1};
  scheduling how;
  int nice;                     // getpriority(2), which a realtime policy leaves as it was
  int io_priority;              // ioprio_set(2)
  timespec slice;               // sched_rr_get_interval(2)
  std::uint32_t cpu_bytes;      // as many as the kernel tells
  unsigned char cpus[1024];
};

// A call that changes it, of the thread with that id: `arguments` name it by `place`. What the kernel says of them is found
// out on a kernel thread that is made for it. Returns the kernel's answer; -ESRCH: there is no such thread.
long change_standing(std::uint32_t tid, long nr, long (&arguments)[4], int place) noexcept;

// Null: the kernel thread's own. To be let go.
const standing* standing_of(std::uint32_t tid) noexcept;
void let_go(const standing*) noexcept;

// A new thread's is its maker's.
void inherit_standing(thread& child, const thread& maker) noexcept;

// What a kernel thread starts for that thread runs on the processors that the thread may run on; and back.
void stand_as(const thread&) noexcept;
void stand_as_before(const thread&) noexcept;

// What the kernel answers where a call names a thread that isn't its process's first: nr(tid, 0).
long answer_for_thread(long nr) noexcept;

// The child of a fork: its only kernel thread is given what its only thread had.
void standing_after_fork(thread& me) noexcept;

}  // namespace bide::core
