// What was fetched, in an SQLite file: comments, and which pages they were on, so that a later run goes on from there.
#pragma once

#include "fetch.hpp"

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

/// The file cannot be written or read, as when the disk is full. What was saved before is still there.
struct store_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Threads:  any, one at a time.
class store {
 public:
  /// Opens the file, or makes it.
  ///
  /// Errors:   store_error.
  explicit store(const std::string& file);

  /// Saves the pages and their comments, all of them or, with an error, none.
  ///
  /// Returns:  how many of the comments were there already: these are not stored twice.
  /// Errors:   store_error.
  unsigned save(std::span<const page> pages);

  /// Returns the (video, page) that are saved.
  ///
  /// Errors:   store_error.
  std::set<std::pair<unsigned, unsigned>> saved_pages();

  /// Returns how many comments are saved.
  std::uint64_t count();

 private:
  struct closing {
    void operator()(sqlite3* file) const noexcept { sqlite3_close(file); }
    void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
  };
  using statement = std::unique_ptr<sqlite3_stmt, closing>;

  void run(const char* sql);
  statement prepare(const char* sql);
  bool step(const statement&);
  void save_page(const page&, unsigned& doubles);
  [[noreturn]] void fail() const;

  std::string name_;
  std::unique_ptr<sqlite3, closing> file_;
  statement add_comment_, add_page_;
};
