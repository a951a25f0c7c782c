#include "lib/sys/features.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

namespace bide::sys {
namespace {

struct named {
  std::string_view name;
  bool feature_set::*feature;
};
constexpr named all[] = {
    {"close_range", &feature_set::close_range},     {"epoll_pwait2", &feature_set::epoll_pwait2},
    {"fsgsbase", &feature_set::fsgsbase},           {"guard_install", &feature_set::guard_install},
    {"io_uring", &feature_set::io_uring},           {"rwf_nowait", &feature_set::rwf_nowait},
    {"trap", &feature_set::trap},
};

}  // namespace

bool is_listed(std::string_view rest, std::string_view name) noexcept {
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    if (rest.substr(0, comma) == name) return true;
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return false;
}

std::string_view unknown_feature(std::string_view rest) noexcept {
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const std::string_view name = rest.substr(0, comma);
    if (!name.empty() && std::none_of(std::begin(all), std::end(all), [&](const named& n) { return n.name == name; })) return name;
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return {};
}

feature_set& features() noexcept {
  static constinit feature_set found{};
  static constinit bool asked = false;  // set before the first worker exists; a race would write the same values
  if (!asked) {
    const char* const disabled = std::getenv("BIDE_DISABLE");
    for (const named& n : all) found.*n.feature = !disabled || !is_listed(disabled, n.name);
    asked = true;
  }
  return found;
}

}  // namespace bide::sys
