// What the server is to answer: the regular files of one folder, read before the first fetch.
#pragma once

#include <string>
#include <vector>

struct page {
  std::string url;
  std::string body;
};

/// Reads the files directly in `folder`, by name; each is expected at `base_url` + its name.
///
/// Errors:   std::runtime_error if the folder can't be read or has no file.
std::vector<page> read_site(const std::string& folder, const std::string& base_url);
