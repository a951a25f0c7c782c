#include "lib/launcher/check.hpp"

#include <cstdio>

#include "lib/launcher/preload.hpp"

namespace bide::launcher {
namespace {

void say(const char* title, const std::string& text) { printf("  %-10s %s\n", title, text.c_str()); }

void say_kernel(const kernel_facts& kernel) {
  say("kernel", kernel.trap            ? "Syscall User Dispatch: yes"
                : kernel.trap_disabled ? "Syscall User Dispatch: BIDE_DISABLE says trap"
                                       : "Syscall User Dispatch: no, and nothing is served without it");
  say("", kernel.io_uring ? "io_uring: yes" : "io_uring: no; connect and some accept wait on kernel threads of their own");
  say("", kernel.guard_install ? "MADV_GUARD_INSTALL: yes"
                               : "MADV_GUARD_INSTALL: no; vm.max_map_count bounds the threads to half as many");
  say("", kernel.fsgsbase ? "FSGSBASE: yes" : "FSGSBASE: no; a switch between threads costs one kernel call");
  if (kernel.filtered) say("", "a seccomp filter is in force; if it refuses a call of bide's, the program may end");
}

void say_program(const program& p) {
  for (const std::string& script : p.scripts) say("script", script);
  if (!p.elf) return;
  say("binary", p.binary);
  if (!p.elf->x86_64) return say("", "for " + p.elf->machine);
  say("", p.elf->loader.empty() ? "x86-64, statically linked" : "x86-64, dynamically linked");
}

// What its libraries bring along. False: the loader would refuse to start it.
bool say_libraries(const program& p) {
  const library_list list = libraries_of(p);
  if (!list.complaint.empty()) {
    say("libraries", list.complaint);
    return false;
  }
  std::string rings = p.elf->imports_rings ? p.binary : "", own;
  for (const std::string& path : list.paths) {
    if (path.find("/libbide.so") != path.npos) own = path;
    const auto facts = read_elf(path);
    if (facts && (facts->imports_rings || path.find("/liburing.so") != path.npos)) rings = path;
  }
  say("libraries", std::to_string(list.paths.size()) + " found");
  if (!rings.empty())
    say("io_uring", "used by " + rings + "; each wait on a ring of its own keeps one kernel thread");
  else
    say("io_uring", "not imported");
  if (!own.empty()) say("bide", "it is built on " + own + " itself; its fibers would run in one of our threads");
  return true;
}

void say_preloads(const std::string& ours) {
  say("preload", ours);
  const other_preloads others = find_other_preloads(ours);
  for (const std::string& name : others.kept) say("", "beside " + name + ", which is preloaded already");
  if (!others.another_bide.empty()) say("", "another bide is preloaded already, " + others.another_bide + ": take it out");
}

}  // namespace

int check(const std::string& name) {
  const program p = find_program(name);
  const kernel_facts kernel = ask_kernel();
  const std::string ours = preload_library();
  std::string why = obstacle(p, kernel);
  if (why.empty() && !find_other_preloads(ours).another_bide.empty()) why = "another bide is preloaded already";
  printf("%s: %s\n", p.path.c_str(), why.empty() ? "its threads would be fibers" : "its threads would be native");
  if (!why.empty()) say("because", why);
  say_program(p);
  bool starts = true;
  if (p.elf && p.elf->x86_64 && !p.elf->loader.empty() && (why.empty() || !kernel.trap)) starts = say_libraries(p);
  say_preloads(ours);
  say_kernel(kernel);
  if (p.elf && p.elf->shadow_stack && kernel.shadow_stack)
    say("", "shadow stack (CET): the program is marked for one; started with one it runs on native threads");
  return why.empty() && starts ? 0 : 1;
}

}  // namespace bide::launcher
