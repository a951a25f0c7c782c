/// Counts of durations in buckets 3 % wide: quantiles without keeping the values.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace bench {

class histogram {
 public:
  void add(std::uint64_t ns) noexcept {
    ++counts_[bucket(ns)];
    ++total_;
  }
  void clear() noexcept {
    counts_.fill(0);
    total_ = 0;
  }

  /// Returns the value that the given share of the durations does not exceed; 0 if there are none.
  double quantile(double share) const noexcept {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(total_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted) return upper(i);
    }
    return 0;
  }

 private:
  // A power of two is cut into 32 equal parts; below 32 every value has a bucket.
  static constexpr unsigned bits = 5;
  static constexpr std::uint64_t parts = std::uint64_t{1} << bits;

  static std::size_t bucket(std::uint64_t ns) noexcept {
    if (ns < parts) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - bits - 1;
    return (shift + 1) * parts + ((ns >> shift) - parts);
  }
  static double upper(std::size_t i) noexcept {
    if (i < parts) return static_cast<double>(i);
    const std::size_t shift = i / parts - 1;
    return static_cast<double>((i % parts + parts + 1) << shift);
  }

  std::array<std::uint64_t, (64 - bits + 1) * parts> counts_{};
  std::uint64_t total_ = 0;
};

}  // namespace bench
