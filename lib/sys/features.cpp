#include "lib/sys/features.hpp"

#include <cstdlib>
#include <string_view>

namespace bide::sys {
namespace {

bool allowed(std::string_view name) noexcept {
  const char* disabled = std::getenv("BIDE_DISABLE");
  return !disabled || !is_listed(disabled, name);
}

}  // namespace

bool is_listed(std::string_view rest, std::string_view name) noexcept {
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    if (rest.substr(0, comma) == name) return true;
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return false;
}

feature_set& features() noexcept {
  static constinit feature_set found{};
  static constinit bool asked = false;  // set before the first worker exists; a race would write the same values
  if (!asked) {
    found = {allowed("guard_install"), allowed("rwf_nowait"), allowed("io_uring"), allowed("epoll_pwait2"),
             allowed("close_range"), allowed("fsgsbase"), allowed("trap")};
    asked = true;
  }
  return found;
}

}  // namespace bide::sys
