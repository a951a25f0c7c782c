// Text built in place: for reports made where stdio and malloc are not ours to use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bide::base {

// Holds up to 1 KiB; what does not fit is cut off.
class text {
 public:
  text& operator<<(std::string_view s) noexcept {
    for (char c : s) put(c);
    return *this;
  }
  text& operator<<(const char* s) noexcept { return *this << std::string_view(s); }
  text& operator<<(char c) noexcept {
    put(c);
    return *this;
  }
  text& operator<<(std::uint64_t n) noexcept {
    char digits[20];
    int count = 0;
    do digits[count++] = static_cast<char>('0' + n % 10);
    while (n /= 10);
    while (count) put(digits[--count]);
    return *this;
  }
  text& operator<<(std::int64_t n) noexcept {
    if (n < 0) put('-');
    return *this << (n < 0 ? 0 - static_cast<std::uint64_t>(n) : static_cast<std::uint64_t>(n));
  }
  text& operator<<(int n) noexcept { return *this << static_cast<std::int64_t>(n); }
  text& operator<<(unsigned n) noexcept { return *this << static_cast<std::uint64_t>(n); }
  text& operator<<(const void* p) noexcept {
    *this << "0x";
    const auto n = reinterpret_cast<std::uintptr_t>(p);
    bool begun = false;
    for (int shift = 60; shift >= 0; shift -= 4) {
      const unsigned digit = (n >> shift) & 15;
      begun = begun || digit || !shift;
      if (begun) put("0123456789abcdef"[digit]);
    }
    return *this;
  }
  std::string_view view() const noexcept { return {bytes_, size_}; }

  // Writes it to stderr with one kernel call, so that lines of several threads don't mix.
  void to_stderr() const noexcept;

 private:
  void put(char c) noexcept {
    if (size_ < sizeof bytes_) bytes_[size_++] = c;
  }
  std::size_t size_ = 0;
  char bytes_[1024];
};

// Writes a size as a person does: "256 KiB" where it is whole, else in bytes.
inline text& append_size(text& t, std::size_t bytes) noexcept {
  if (bytes >= 1024 * 1024 && bytes % (1024 * 1024) == 0) return t << std::uint64_t{bytes >> 20} << " MiB";
  if (bytes >= 1024 && bytes % 1024 == 0) return t << std::uint64_t{bytes >> 10} << " KiB";
  return t << std::uint64_t{bytes} << " bytes";
}

}  // namespace bide::base
