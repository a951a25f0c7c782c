// The crawler's one way to fetch: an ordinary blocking function on a libcurl easy handle and a JSON parser.
//
// Nothing here knows whether a process, a kernel thread or a fiber calls it.
#pragma once

#include <curl/curl.h>
#include <rapidjson/document.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct page_ref {
  unsigned video;
  unsigned page;
  unsigned comments;  // that are due on it
};

struct comment {
  std::uint64_t id;
  unsigned likes;
  std::string_view author, text;  // in the page's body
};

struct page {
  page_ref which;
  std::unique_ptr<char[]> body;
  std::vector<comment> comments;
};

struct fetch_settings {
  std::string site;  // such as http://127.0.0.1:8080
  long timeout_ms = 10'000;
  unsigned attempts = 5;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> retries{0};  // attempts beyond the first, of all pages
};

/// The site did not give what was asked for, in as many attempts as are allowed; or stop was asked.
struct fetch_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An easy handle with its connection, for one caller at a time.
class source {
 public:
  /// Errors:   std::runtime_error.
  explicit source(fetch_settings& how);

 private:
  friend std::vector<page_ref> fetch_list(source&);
  friend page fetch_page(source&, const page_ref&);

  struct cleanup {
    void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
  };

  template <class Read>
  auto with_retries(const std::string& path, Read read);
  void get(const std::string& url);
  void parse(rapidjson::Document& into, char* text);

  fetch_settings& how_;
  std::unique_ptr<CURL, cleanup> easy_;
  std::string answer_;
  std::array<char, CURL_ERROR_SIZE> why_;
  std::array<char, 32 * 1024> room_;  // a page's JSON fits
  rapidjson::MemoryPoolAllocator<> values_{room_.data(), room_.size()};
};

/// Fetches the list of videos and returns the pages that they have.
///
/// Errors:   fetch_error.
std::vector<page_ref> fetch_list(source&);

/// Fetches one page and returns its comments.
///
/// Errors:   fetch_error.
page fetch_page(source&, const page_ref&);
