#include "lib/base/number.hpp"

#include <charconv>
#include <cstdlib>

#include "lib/base/text.hpp"

namespace bide::base {

bool read_number(std::string_view text, std::int64_t least, std::int64_t most, std::int64_t& value) noexcept {
  std::int64_t found = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), found);
  if (error != std::errc{} || end != text.end() || found < least || found > most) return false;
  value = found;
  return true;
}

std::int64_t number_in_environment(const char* name, std::int64_t standard, std::int64_t least, std::int64_t most) noexcept {
  const char* const given = std::getenv(name);
  std::int64_t value = standard;
  if (!given || !*given || read_number(given, least, most, value)) return value;
  text t;
  (t << "bide: " << name << '=' << given << " is no number from " << least << " to " << most << "; taken as " << standard
     << '\n').to_stderr();
  return standard;
}

}  // namespace bide::base
