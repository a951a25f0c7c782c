// What an ELF file says of itself: elf(5). Nothing of it is executed, and no field of it is believed unchecked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bide::launcher {

struct elf_facts {
  bool x86_64 = false;
  std::string machine;        // for people; empty for x86-64
  std::string loader;         // PT_INTERP; empty: statically linked
  bool shadow_stack = false;  // marked as ready for one: x86-64 psABI, GNU_PROPERTY_X86_FEATURE_1_SHSTK
  bool go = false;            // made by Go's own linker
  bool imports_rings = false; // has undefined symbols of liburing's
};

/// With ? for what would move a terminal's cursor.
std::string printable(std::string_view);

/// Returns: nothing if the file is no ELF or can't be read.
std::optional<elf_facts> read_elf(const std::string& path);

}  // namespace bide::launcher
