// Timers whose signals go to one thread (timer_create(2), SIGEV_THREAD_ID; libc's SIGEV_THREAD is built on them).
//
// The kernel knows none of our threads. So it sends the tick's signal with a number, and that says whose it is.
#pragma once

#include <signal.h>

#include <cstdint>

namespace bide::core {

// Returns the number the kernel is to send, or -EAGAIN.
long add_thread_timer(std::uint32_t tid, const sigevent& wanted) noexcept;
// The timer's id, once the kernel has given one; -1: it gave none, and the number is free again.
void name_thread_timer(long number, int id) noexcept;
// The kernel's timer with this id is gone.
void drop_thread_timer(int id) noexcept;
// What the kernel sent as a tick: turned into the signal that was wanted, and for whom. False: a timer that is gone.
bool read_thread_timer(siginfo_t& info, std::uint32_t& tid) noexcept;

}  // namespace bide::core
