#include "lib/door/whose_code.hpp"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <algorithm>
#include <atomic>
#include <initializer_list>
#include <string_view>

#include "lib/base/spin.hpp"

namespace bide::door {
namespace {

struct range {
  std::uintptr_t begin, end;
};

// Filled in before its count is stored, and never changed again: read in signal handlers.
class code {
 public:
  void add(const dl_phdr_info& object) noexcept {
    for (int i = 0; i < object.dlpi_phnum && found_ < most; ++i) {
      const ElfW(Phdr)& p = object.dlpi_phdr[i];
      if (p.p_type != PT_LOAD || !(p.p_flags & PF_X)) continue;
      parts_[found_++] = {object.dlpi_addr + p.p_vaddr, object.dlpi_addr + p.p_vaddr + p.p_memsz};
    }
  }
  void publish() noexcept { count_.store(found_, std::memory_order_release); }  // pairs with has()
  bool is_known() const noexcept { return count_.load(std::memory_order_acquire) != 0; }
  bool has(std::uintptr_t at) const noexcept {
    const int count = count_.load(std::memory_order_acquire);
    for (int i = 0; i < count; ++i) {
      if (at >= parts_[i].begin && at < parts_[i].end) return true;
    }
    return false;
  }

 private:
  static constexpr int most = 16;
  range parts_[most];
  int found_ = 0;  // guarded by lock
  std::atomic<int> count_{0};
};

code libcs, kernels, runtimes;
std::atomic<std::uint32_t> lock{0};

// libc came in several libraries before glibc 2.34. The kernel's page of code has the clocks, which may make calls.
code* owner(const dl_phdr_info& object) noexcept {
  if (object.dlpi_addr == getauxval(AT_SYSINFO_EHDR)) return &kernels;
  if (object.dlpi_addr == getauxval(AT_BASE)) return &libcs;
  std::string_view name = object.dlpi_name;
  name.remove_prefix(name.rfind('/') + 1);
  const auto is_one_of = [name](std::initializer_list<std::string_view> beginnings) {
    return std::any_of(beginnings.begin(), beginnings.end(), [name](std::string_view b) { return name.substr(0, b.size()) == b; });
  };
  if (is_one_of({"libc.so.", "libc-2.", "libpthread", "librt", "libdl", "libanl", "libresolv", "libnss_"})) return &libcs;
  return is_one_of({"libbide.so", "libbide-hook.so"}) ? &runtimes : nullptr;
}

struct found {
  static constexpr int most = 32;
  dl_phdr_info objects[most];
  int count = 0;
};

}  // namespace

void learn_code() noexcept {
  if (libcs.is_known()) return;
  found all;
  dl_iterate_phdr([](dl_phdr_info* object, std::size_t, void* to) {
    auto& all = *static_cast<found*>(to);
    if (all.count < found::most && owner(*object)) all.objects[all.count++] = *object;
    return 0;
  }, &all);
  const base::spin_guard guard(lock);
  if (libcs.is_known()) return;
  for (int i = 0; i < all.count; ++i) owner(all.objects[i])->add(all.objects[i]);
  kernels.publish();
  runtimes.publish();
  libcs.publish();
}

bool in_libc(std::uintptr_t at) noexcept { return libcs.has(at) || kernels.has(at); }
bool in_kernels_page(std::uintptr_t at) noexcept { return kernels.has(at); }
bool in_runtime(std::uintptr_t at) noexcept { return runtimes.has(at); }

}  // namespace bide::door
