/// What can be chosen when a runtime starts and when a fiber is spawned.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string_view>

namespace bide {

/// What a fiber finds on a stack that another fiber used before.
enum class stack_reuse : unsigned char {
  kept,      ///< What the former fiber left there, as with a pthread's cached stack. Fast.
  scrubbed,  ///< Zeroes: its pages go back to the kernel in between, about 4 us a fiber.
};

/// Where a call is made that waits for a disk: a read or write of a regular file, fsync, fallocate, open and kin.
enum class file_calls : unsigned char {
  direct,     ///< On the worker. A file in the page cache costs least; a slow disk holds up the worker's other fibers.
  offloaded,  ///< On an offload thread, about 10 us a call; a read of what is in the page cache stays on the worker.
};

/// Whether a runtime watches what its fibers do to each other: asyncio's debug mode.
enum class debug_mode : unsigned char {
  by_environment,  ///< On if BIDE_DEBUG is set, and not to 0.
  off,
  on,  ///< A fiber that holds its worker longer than options::slow is named on stderr, by a thread that looks.
};

/// Whether calls that a program, or a library, makes past libc's names park too: a `syscall` instruction of its own, as in
/// Rust's rustix, in liburing's inline functions, in assembly. By the trap door: Syscall User Dispatch, Linux 5.11.
enum class trap_door : unsigned char {
  by_environment,  ///< On if BIDE_TRAP is set, and not to 0.
  off,             ///< Such a call holds its worker for as long as it waits.
  /// It waits as a call by libc's name does, and ends as that: by a cancel with ECANCELED, by a timeout with ETIMEDOUT, and
  /// never by an exception, which no compiler expects of an instruction.
  ///
  /// Where it can't be (an older kernel, a program that uses SIGSYS itself, sanitizers), one line on stderr says why, and the
  /// runtime goes on without. A call that traps costs about 3.5 times a bare one, and 4 KiB of stack; so does each call from
  /// within libc that has no door by its name, which goes to the kernel as it is. While such a runtime runs SIGSYS is its own:
  /// never blocked on its workers, nor in a handler's mask. sigaction on a thread beside them is to be libbide-hook's.
  on,
};

/// How a runtime is made. Read once, by `run`, which refuses bad values with std::system_error(EINVAL) that says why.
struct options {
  /// Kernel threads that run fibers, 1 to 64. The caller of `run` is the first of them.
  unsigned workers = 1;
  /// Address space of a fiber's stack in bytes, guard included: 16 KiB to 1 GiB, rounded up to a power of two.
  /// Memory is used only for the pages that a fiber touches.
  std::size_t stack_size = 256 * 1024;
  /// Threads that may run offloaded functions at the same time, 1 to 4096. They come with demand and end when idle. Waits
  /// that last until another has gone on (sem_wait, pthread_join, stdio on a pipe, flock, a FIFO's open) have threads beyond these.
  unsigned offload_threads = 64;
  stack_reuse reuse = stack_reuse::kept;
  file_calls files = file_calls::direct;
  debug_mode debug = debug_mode::by_environment;
  /// How long a fiber may hold its worker before debug mode names it; asyncio's slow_callback_duration.
  std::chrono::nanoseconds slow = std::chrono::milliseconds(100);
  /// Not 0: a seeded runtime, in which the same program takes the same course each time, and another with another seed. 0: as
  /// the environment's BIDE_SEED says.
  ///
  /// Its one worker, whatever `workers` says, takes the next ready fiber by dice that begin with the seed; every call that has
  /// a door may be where another gets its turn. Time is the runtime's own: it begins at the same moment each time, and when all
  /// fibers are parked it is at once the earliest deadline's, so that an hour's sleep takes no time. The API's clocks and
  /// deadlines go by it, and with libbide-hook what its fibers read by clock_gettime, std::chrono and time.
  /// What the kernel tells is asked when nobody is ready, in order of the descriptors. Descriptors whose other end is outside
  /// are waited for a millisecond before time goes on, offloaded functions a second: what comes from other processes, plain
  /// threads, offload threads, signals or the kernel's own timers (timerfd, setitimer) is as they are, not as the seed says.
  /// There is no other runtime beside it, for the clock is the process's, and it is not stepped.
  std::uint64_t seed = 0;
  trap_door trap = trap_door::by_environment;
};

/// What a libc call waiting through the symbol door does when its fiber is cancelled, or a timeout around it passes.
enum class ended_call : unsigned char {
  /// Returns -1 with ECANCELED or ETIMEDOUT, or as it says an error: its number, EAI_SYSTEM, a null pointer, EOF.
  /// pthread_cond_wait has no error for it, and std::condition_variable none at all: one wait ends as if woken for nothing, what
  /// else the caller looks at can end its loop, and the next call says it. pthread_cond_timedwait may say ETIMEDOUT.
  fails,
  /// Throws `cancelled` or `timed_out`, as pthread_cancel(3) unwinds: C code on the way is left as it is. What libc declares
  /// never to throw (flock, sendfile, semop, ioctl, syscall and kin) fails all the same. Thrown out of a wait for a condition, the
  /// fiber holds the mutex again. libc++'s condition_variable, and GCC's before 12, let nothing be thrown: std::terminate.
  unwinds,
};

/// How one fiber is made.
struct spawn_options {
  /// What reports and debuggers call the fiber; copied. Empty: "fiber-<id>".
  std::string_view name = {};
  /// As options::stack_size, for this fiber. 0: the runtime's.
  std::size_t stack_size = 0;
  ended_call libc_calls = ended_call::fails;
  /// Where it was spawned, for reports.
  std::source_location where = std::source_location::current();
};

}  // namespace bide
