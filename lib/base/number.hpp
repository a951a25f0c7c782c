// Numbers that the environment holds.
#pragma once

#include <cstdint>
#include <string_view>

namespace bide::base {

// Reads a whole decimal number, all of the text. Returns whether it is one from `least` to `most`.
bool read_number(std::string_view, std::int64_t least, std::int64_t most, std::int64_t& value) noexcept;

// The number in an environment variable; or `standard` if there is none, with a line if what is there isn't such a number.
std::int64_t number_in_environment(const char* name, std::int64_t standard, std::int64_t least, std::int64_t most) noexcept;

}  // namespace bide::base
