// The table of calls: the kernel calls that are made cooperative, by number, in the kernel's ABI.
//
// A door asks the table, on a fiber. What has no entry goes to the kernel as it is. Each family's file says only what is
// peculiar to it; what they share is in attempt.hpp.
#pragma once

namespace bide::call {

// Six words in, a value or -errno out.
using function = long (*)(long, long, long, long, long, long);

inline constexpr long numbers = 512;

// The entry of a number, or null.
function entry(long nr) noexcept;

// The same though it be wrapped.
function standard_entry(long nr) noexcept;

// Whether a call may make its caller wait.
bool may_wait(long nr) noexcept;

// Puts a function there that passes its calls through their wrappers, and takes it away again. Any thread, one at a time.
void wrap_entry(long nr, function) noexcept;
void unwrap_entry(long nr) noexcept;

#ifdef BIDE_PRELOAD
// Whether an entry does no more than the kernel but let others run: a program's only thread asks the kernel itself.
bool only_waits(long nr) noexcept;
#endif

// Every number that has an entry, in order; for tests. Returns the next after `nr`, or -1.
long next_entry(long nr) noexcept;

}  // namespace bide::call
