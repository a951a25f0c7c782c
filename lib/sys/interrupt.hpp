// A signal of the runtime's own that ends a kernel call of one of its threads with EINTR.
//
// It is the highest realtime signal that the program leaves alone when it is first needed. Where there is none, nothing
// can be ended.
#pragma once

namespace bide::sys {

// The calling thread's next kernel calls may be ended, until they no longer may. What came too late for earlier ones is
// forgotten.
void unblock_interrupts() noexcept;
void block_interrupts() noexcept;

// Signals that thread of this process. One that comes before the thread is in the kernel is lost.
void interrupt(long thread) noexcept;

}  // namespace bide::sys
