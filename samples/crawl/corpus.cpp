#include "corpus.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <string_view>

using namespace std::string_view_literals;

namespace {

// Some that JSON, URLs and SQL would have to quote, and some beyond ASCII.
constexpr std::array words{
    "the"sv,   "a"sv,        "this"sv,   "song"sv,     "video"sv,    "great"sv,   "love"sv,      "watched"sv,
    "still"sv, "\"wow\""sv,  "again"sv,  "who"sv,      "is"sv,       "here"sv,    "in"sv,        "2024"sv,
    "first"sv, "it's"sv,     "naïve"sv,  "größer"sv,   "日本"sv,     "👍"sv,      "because"sv,   "channel"sv,
    "sound"sv, "back\\up"sv, "at"sv,     "3:14"sv,     "thank"sv,    "you"sv,     "for"sv,       "sharing"sv,
    "best"sv,  "part"sv,     "line\n"sv, "<b>not</b>"sv, "100%"sv,   "a&b"sv,     "everyone"sv,  "remember"sv,
    "when"sv,  "my"sv,       "father"sv, "played"sv,   "summer"sv,   "nobody"sv,  "asked"sv,     "actually"sv,
};

}  // namespace

std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  // The finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
  std::uint64_t x = a * 0x9e3779b97f4a7c15 + b;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

double drawn(std::uint64_t a, std::uint64_t b) { return static_cast<double>(mixed(a, b) >> 11) * 0x1p-53; }

// The k-th of the videos has a share of 1/k, as Zipf found of words; then they are shuffled.
corpus::corpus(std::uint64_t seed, unsigned comments) : seed_(seed), videos_(std::max(1u, comments / 330)) {
  double whole = 0;
  for (std::size_t k = 1; k <= videos_.size(); ++k) whole += 1.0 / static_cast<double>(k);
  unsigned left = comments;
  for (std::size_t k = videos_.size(); k > 1; --k) {
    videos_[k - 1].comments = static_cast<unsigned>(comments / whole / static_cast<double>(k));
    left -= videos_[k - 1].comments;
  }
  videos_[0].comments = left;
  std::minstd_rand order(static_cast<unsigned>(mixed(seed, 0)));
  for (std::size_t k = videos_.size(); k > 1; --k) std::swap(videos_[k - 1], videos_[order() % k]);
  std::uint64_t next = 1;
  for (video& each : videos_) {
    each.first_id = next;
    next += each.comments;
  }
}

comment_text corpus::at(std::uint64_t id) const {
  const std::uint64_t lot = mixed(seed_, id);
  comment_text made{"user" + std::to_string(lot % 90'000), static_cast<unsigned>((lot >> 20) % 500), {}};
  const std::uint64_t length = 3 + (lot >> 40) % 18;
  for (std::uint64_t n = 0; n < length; ++n) {
    if (n) made.text += ' ';
    made.text += words[mixed(lot, n) % words.size()];
  }
  return made;
}

unsigned corpus::video_of(std::uint64_t id) const {
  const auto after = std::upper_bound(videos_.begin(), videos_.end(), id,
                                      [](std::uint64_t wanted, const video& each) { return wanted < each.first_id; });
  return static_cast<unsigned>(after - videos_.begin());
}
