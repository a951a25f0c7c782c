// Finds libc's own functions for every door. libc is asked by name, not by load order: RTLD_NEXT finds nothing when this
// library comes after libc.
#include <dlfcn.h>

#include "lib/door/door.hpp"

// The section of all names; the linker defines its ends.
extern "C" {
extern bide::door::name __start_bide_doors[], __stop_bide_doors[];
}

namespace bide::door {

[[gnu::constructor(101)]] void find_libc() {
  void* libc = dlopen("libc.so.6", RTLD_NOLOAD | RTLD_LAZY);
  if (!libc) return;  // doors stay bare kernel calls
  for (name* n = __start_bide_doors; n != __stop_bide_doors; ++n) n->real = dlsym(libc, n->text);
}

}  // namespace bide::door
