// The end of a worker's bell.
#pragma once

namespace bide::core {

// Waits until no thread is about to ring that may have found a worker asleep which is awake by now: its bell can then be
// closed, and no ring reaches the next owner of the number.
void until_nobody_rings() noexcept;

}  // namespace bide::core
