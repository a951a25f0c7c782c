// How a read from a terminal waits: termios(3), "Canonical and noncanonical mode".
#pragma once

namespace bide::call {

enum class terminal_read {
  by_poll,      // a readable terminal gives what it has: canonical mode, or VMIN 1 without VTIME
  never_waits,  // VMIN 0 and VTIME 0
  by_itself,    // VMIN 0 with VTIME: waits that long and no longer; poll says nothing of it
  by_both,      // may go on waiting once poll has said readable: VMIN above 1, or VMIN with VTIME
};

// A character device that is no terminal goes by poll.
terminal_read how_it_reads(int fd) noexcept;

}  // namespace bide::call
