// A test that hangs says who waits for what, and ends.
#pragma once

namespace unit {

// Ends the process after so many seconds, with a list of its fibers on stderr; 0 calls it off.
void watch_time(unsigned seconds) noexcept;

}  // namespace unit
