// What the site shows: so many comments, spread over videos very unequally. A function of the seed, so that the site and
// the check of what was stored agree without having met.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct comment_text {
  std::string author;
  unsigned likes;
  std::string text;
};

struct video {
  unsigned comments;
  std::uint64_t first_id;  // the ids of its comments follow each other
};

class corpus {
 public:
  static constexpr unsigned comments_per_page = 20;

  corpus(std::uint64_t seed, unsigned comments);

  /// Video number k is the element k - 1.
  const std::vector<video>& videos() const { return videos_; }
  static unsigned pages_of(const video& which) { return (which.comments + comments_per_page - 1) / comments_per_page; }

  /// What the comment with this id, from 1 on, says.
  comment_text at(std::uint64_t id) const;
  /// The number, from 1 on, of the video that the comment with this id belongs to.
  unsigned video_of(std::uint64_t id) const;

 private:
  std::uint64_t seed_;
  std::vector<video> videos_;
};

/// Mixes two numbers into one that looks drawn by lot: the same for the same two.
std::uint64_t mixed(std::uint64_t a, std::uint64_t b);

/// The same as a share of one.
double drawn(std::uint64_t a, std::uint64_t b);
