// The syscall sites of libc, turned into jumps to the table: a fraction of a trap's cost.
#pragma once

namespace bide::core {
struct thread;
}

namespace bide::door {

// Sites are to be patched when it pays. Before the doors open.
void prepare_patching() noexcept;

// A call of the running thread's came by a trap: the time may have come. Then where it goes on is another place.
void note_trap(core::thread&) noexcept;

}  // namespace bide::door
