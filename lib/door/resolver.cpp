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
  // Before glibc 2.34 some of libc's names are in libraries beside it. Where there is none, doors stay bare kernel calls.
  for (const char* library : {"libc.so.6", "libpthread.so.0", "librt.so.1", "libresolv.so.2",
                              "libstdc++.so.6"}) {
    void* libc = dlopen(library, RTLD_NOLOAD | RTLD_LAZY);
    for (name* n = __start_bide_doors; libc && n != __stop_bide_doors; ++n) {
      if (!n->real) n->real = dlsym(libc, n->text);
    }
  }
}

}  // namespace bide::door
