// Broken invariants end the process, in release too, with one line that names the place.
#pragma once

namespace bide::base {

[[noreturn]] void broken(const char* what, const char* file, int line) noexcept;

}  // namespace bide::base

#define BIDE_ASSERT(condition, what) \
  (__builtin_expect(!!(condition), 1) ? void(0) : ::bide::base::broken(what, __FILE__, __LINE__))
