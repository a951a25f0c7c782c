#include "lib/base/assert.hpp"

#include <cstdlib>

#include "lib/base/text.hpp"

namespace bide::base {

void broken(const char* what, const char* file, int line) noexcept {
  text t;
  (t << "bide: broken invariant: " << what << " (" << file << ':' << line << ")\n").to_stderr();
  std::abort();
}

}  // namespace bide::base
