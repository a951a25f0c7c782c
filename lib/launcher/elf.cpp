#include "lib/launcher/elf.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace bide::launcher {
namespace {

// A file's bytes, and whether a wanted part lies within.
class mapped_file {
 public:
  explicit mapped_file(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct stat about {};
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0) {
      void* at = mmap(nullptr, static_cast<std::size_t>(about.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
      if (at != MAP_FAILED) bytes_ = {static_cast<const char*>(at), static_cast<std::size_t>(about.st_size)};
    }
    close(fd);
  }
  ~mapped_file() {
    if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  mapped_file(const mapped_file&) = delete;
  mapped_file& operator=(const mapped_file&) = delete;

  std::string_view bytes() const { return bytes_; }
  // Empty if it isn't all there.
  std::string_view part(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) return {};
    return bytes_.substr(offset, size);
  }
  template <class T>
  T record(std::uint64_t offset) const {
    T value{};
    if (const auto from = part(offset, sizeof value); !from.empty()) memcpy(&value, from.data(), sizeof value);
    return value;
  }

 private:
  std::string_view bytes_;
};

std::string machine_name(int bits, unsigned machine) {
  switch (machine) {
    case EM_X86_64: return bits == 64 ? "" : "x86-64 with 32-bit pointers (x32)";
    case EM_386: return "32-bit x86";
    case EM_AARCH64: return "AArch64";
    case EM_ARM: return "32-bit ARM";
    case EM_RISCV: return "RISC-V";
    case EM_PPC64: return "PowerPC";
    case EM_S390: return "S/390";
    default: return "machine " + std::to_string(machine);
  }
}

std::uint64_t aligned(std::uint64_t size, std::uint64_t to) { return (size + to - 1) / to * to; }

void read_property(std::string_view properties, elf_facts& facts) {
  while (properties.size() >= 8) {
    std::uint32_t head[2];
    memcpy(head, properties.data(), sizeof head);
    properties.remove_prefix(8);
    if (head[1] > properties.size()) return;
    if (head[0] == GNU_PROPERTY_X86_FEATURE_1_AND && head[1] >= 4) {
      std::uint32_t features;
      memcpy(&features, properties.data(), sizeof features);
      facts.shadow_stack = features & GNU_PROPERTY_X86_FEATURE_1_SHSTK;
    }
    properties.remove_prefix(std::min<std::uint64_t>(aligned(head[1], 8), properties.size()));
  }
}

void read_notes(std::string_view notes, std::uint64_t alignment, elf_facts& facts) {
  constexpr std::uint32_t go_build_id = 4;
  const std::uint64_t step = alignment == 8 ? 8 : 4;
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr head;
    memcpy(&head, notes.data(), sizeof head);
    const std::uint64_t content = aligned(sizeof head + std::uint64_t{head.n_namesz}, step);
    const std::uint64_t end = content + head.n_descsz;
    if (end > notes.size()) return;
    const std::string_view name(notes.data() + sizeof head, head.n_namesz);
    if (head.n_type == NT_GNU_PROPERTY_TYPE_0 && name == std::string_view("GNU\0", 4))
      read_property(notes.substr(content, head.n_descsz), facts);
    if (head.n_type == go_build_id && name == std::string_view("Go\0\0", 4)) facts.go = true;
    notes.remove_prefix(std::min<std::uint64_t>(aligned(end, step), notes.size()));
  }
}

bool imports_rings(const mapped_file& file, const Elf64_Ehdr& head) {
  for (unsigned i = 0; i < head.e_shnum; ++i) {
    const auto section = file.record<Elf64_Shdr>(head.e_shoff + std::uint64_t{i} * head.e_shentsize);
    if (section.sh_type != SHT_DYNSYM || section.sh_link >= head.e_shnum) continue;
    const auto link = file.record<Elf64_Shdr>(head.e_shoff + std::uint64_t{section.sh_link} * head.e_shentsize);
    const std::string_view names = file.part(link.sh_offset, link.sh_size);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = file.record<Elf64_Sym>(section.sh_offset + at);
      if (symbol.st_shndx == SHN_UNDEF && symbol.st_name < names.size() &&
          names.substr(symbol.st_name).starts_with("io_uring_"))
        return true;
    }
  }
  return false;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string clean(text);
  std::replace_if(clean.begin(), clean.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return clean;
}

std::optional<elf_facts> read_elf(const std::string& path) {
  const mapped_file file(path);
  if (file.bytes().size() < sizeof(Elf32_Ehdr) || !file.bytes().starts_with(ELFMAG)) return {};
  const auto head = file.record<Elf64_Ehdr>(0);
  elf_facts facts;
  // Where the machine stands is the same in both classes.
  facts.machine = machine_name(head.e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32, head.e_machine);
  facts.x86_64 = facts.machine.empty() && head.e_ident[EI_DATA] == ELFDATA2LSB;
  if (!facts.x86_64) return facts;
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    const auto segment = file.record<Elf64_Phdr>(head.e_phoff + std::uint64_t{i} * head.e_phentsize);
    const std::string_view bytes = file.part(segment.p_offset, segment.p_filesz);
    if (segment.p_type == PT_INTERP) facts.loader = printable(bytes.substr(0, bytes.find('\0')));
    if (segment.p_type == PT_NOTE) read_notes(bytes, segment.p_align, facts);
  }
  facts.imports_rings = imports_rings(file, head);
  return facts;
}

}  // namespace bide::launcher
