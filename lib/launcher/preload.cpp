#include "lib/launcher/preload.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "lib/launcher/failure.hpp"

namespace bide::launcher {
namespace fs = std::filesystem;
namespace {

constexpr const char* library_name = "libbide-preload.so.0";
constexpr const char* glibc_loader = "/lib64/ld-linux-x86-64.so.2";  // x86-64 psABI, 5.2.1

// ld.so(8): the list's elements are parted by spaces or colons, and there is no way to escape either.
std::vector<std::string> elements(std::string list) {
  for (char& c : list)
    if (c == ':' || c == '\n' || c == '\t') c = ' ';
  std::istringstream words(list);
  std::vector<std::string> found;
  for (std::string word; words >> word;) found.push_back(word);
  return found;
}

bool is_bide(const std::string& path) { return fs::path(path).filename().string().starts_with("libbide-preload.so"); }

bool same_file(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

std::string loadable(const fs::path& path) {
  if (path.native().find_first_of(" :\n\t") == path.native().npos) return path;
  throw failure(status::own_error, path.native() + ": the loader takes no path with a blank or a colon; move it");
}

}  // namespace

std::string preload_library() {
  std::error_code error;
  const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path bin = fs::path(BIDE_PREFIX) / BIDE_BINDIR, lib = fs::path(BIDE_PREFIX) / BIDE_LIBDIR;
  for (const fs::path& folder : {here, here / lib.lexically_relative(bin), lib}) {
    const fs::path path = (folder / library_name).lexically_normal();
    if (!fs::exists(path, error)) continue;
    return loadable(path);
  }
  throw failure(status::own_error, std::string(library_name) + " is neither beside " + (here / "bide").native() +
                                       " nor in " + lib.native() + ": install both together");
}

other_preloads find_other_preloads(const std::string& ours) {
  other_preloads found;
  const char* given = getenv("LD_PRELOAD");
  std::string list = given ? given : "";
  for (const std::string& name : elements(list)) {
    if (!is_bide(name)) found.kept.push_back(name);
    else if (!same_file(name, ours)) found.another_bide = name;
  }
  std::ifstream file("/etc/ld.so.preload");
  std::stringstream system;
  system << file.rdbuf();
  for (const std::string& name : elements(system.str())) {
    if (!is_bide(name)) found.kept.push_back(name);
    else if (!same_file(name, ours)) found.another_bide = name;
  }
  return found;
}

std::string preload_list(const std::string& ours, const std::vector<std::string>& plugins) {
  const other_preloads others = find_other_preloads(ours);
  if (!others.another_bide.empty()) {
    throw failure(status::own_error, "another bide is preloaded already, " + others.another_bide +
                                         ": take it out of LD_PRELOAD, or start the program without bide run");
  }
  std::string list = ours;
  for (const std::string& plugin : plugins) list += ':' + loadable(fs::absolute(plugin));
  const char* given = getenv("LD_PRELOAD");
  for (const std::string& name : elements(given ? given : ""))
    if (!is_bide(name)) list += ':' + name;
  return list;
}

std::string obstacle(const program& p, const kernel_facts& kernel) {
  if (kernel.trap_disabled) return "BIDE_DISABLE says trap";
  if (!kernel.trap) return "this kernel has no Syscall User Dispatch; Linux has it from 5.11 on";
  if (!p.elf) return "it can't be read, so what it is isn't known; be allowed to read it";
  if (!p.elf->x86_64) return "it is for " + p.elf->machine + "; take one for x86-64";
  if (p.elf->loader.empty()) return "it is statically linked, so nothing can be loaded before it; link it dynamically";
  if (p.elf->go) return "it is made by Go, whose threads don't come from libc";
  if (p.elf->loader != glibc_loader) return "its loader is " + p.elf->loader + ", not glibc's; build it for glibc";
  if (const std::string why = privilege_of(p.binary); !why.empty())
    return "it has privileges of its own (" + why + "), so the loader loads nothing before it; start it as who has them";
  return {};
}

}  // namespace bide::launcher
