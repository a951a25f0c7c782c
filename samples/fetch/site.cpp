#include "site.hpp"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>

namespace fs = std::filesystem;

namespace {

std::string escaped(const std::string& name) {
  const std::unique_ptr<char, void (*)(void*)> text(
      curl_easy_escape(nullptr, name.data(), static_cast<int>(name.size())), curl_free);
  if (!text) throw std::runtime_error("curl_easy_escape: out of memory");
  return text.get();
}

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string all(std::istreambuf_iterator<char>(in), {});
  if (!in) throw std::runtime_error(fmt::format("cannot read {}", file.string()));
  return all;
}

}  // namespace

std::vector<page> read_site(const std::string& folder, const std::string& base_url) {
  std::vector<page> pages;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed))
    if (entry.is_regular_file())
      pages.push_back({base_url + escaped(entry.path().filename()), content(entry.path())});
  if (failed) throw std::runtime_error(fmt::format("cannot read the folder {}: {}", folder, failed.message()));
  if (pages.empty()) throw std::runtime_error(fmt::format("no file to fetch in {}", folder));
  std::sort(pages.begin(), pages.end(), [](const page& a, const page& b) { return a.url < b.url; });
  return pages;
}
