// Finds libc's own functions for every door. libc is asked by name: by load order, RTLD_NEXT, nothing is found when this library
// comes after libc.
#include <dlfcn.h>

#include <algorithm>

#include "lib/door/door.hpp"

// The section of all names; the linker defines its ends.
extern "C" {
extern bide::door::name __start_bide_doors[], __stop_bide_doors[];
}

namespace bide::door {
namespace {

// Opens no library more than it must: dlopen runs the constructors of one that is loaded and not yet initialised, and a
// sanitizer asks for sigaction while it initialises, before everybody else.
void find(name* first, name* last) {
  // Before glibc 2.34 some of libc's names are in libraries beside it. Where there is none, doors stay bare kernel calls.
  for (const char* library : {"libc.so.6", "libpthread.so.0", "librt.so.1", "libresolv.so.2",
                              "libstdc++.so.6"}) {
    if (std::all_of(first, last, [](const name& n) { return n.real; })) return;
    void* libc = dlopen(library, RTLD_NOLOAD | RTLD_LAZY);
    for (name* n = first; libc && n != last; ++n) {
      if (!n->real) n->real = dlsym(libc, n->text);
    }
  }
}

[[gnu::constructor(101)]] void find_all() { find(__start_bide_doors, __stop_bide_doors); }

}  // namespace

// dlopen asks malloc for memory, and the program's own malloc may take a lock, which is why it comes here. RTLD_NEXT doesn't, and
// whoever came by one of our names so early has us before libc.
void find_libc(name& n) {
  if (!n.real) n.real = dlsym(RTLD_NEXT, n.text);
  if (!n.real) find(&n, &n + 1);
}

}  // namespace bide::door
