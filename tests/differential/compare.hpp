// Runs a scenario on kernel threads and in fibers and compares what its actors noted.
#pragma once

#include "actor.hpp"

namespace differential {

// One place where fibers answer otherwise than threads on purpose.
struct difference {
  std::string_view natively;   // the line noted on threads
  std::string_view in_fibers;  // the line noted in fibers instead
  std::string_view because;
};

// Runs `tell` in a process of its own each time: on threads, then in fibers on one worker, then on two. Fails unless the
// three transcripts are the same, and if a run does not end within its time or leaves descriptors open.
void compare(const script& tell);

// As compare, but one line differs, and must differ, as described.
void compare(const difference& meant, const script& tell);

// Tells whether ThreadSanitizer makes a comparison pointless, and says so on stderr, where tests/run counts it.
bool skipped_under_tsan(std::string_view why);

}  // namespace differential
