#include "store.hpp"

#include <fmt/format.h>

store::store(const std::string& file) : name_(file) {
  sqlite3* opened = nullptr;
  // One caller at a time: SQLite's own locks would be taken for nothing.
  const int failed =
      sqlite3_open_v2(file.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  file_.reset(opened);
  if (failed) fail();
  sqlite3_busy_timeout(opened, 5000);
  run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;"
      "CREATE TABLE IF NOT EXISTS comments(id INTEGER PRIMARY KEY, video INTEGER NOT NULL, author TEXT NOT NULL,"
      "  likes INTEGER NOT NULL, text TEXT NOT NULL);"
      "CREATE TABLE IF NOT EXISTS pages(video INTEGER, page INTEGER, PRIMARY KEY (video, page)) WITHOUT ROWID;");
  add_comment_ = prepare("INSERT INTO comments VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
  add_page_ = prepare("INSERT OR REPLACE INTO pages VALUES (?, ?)");
}

unsigned store::save(std::span<const page> pages) {
  unsigned doubles = 0;
  if (pages.empty()) return doubles;
  run("BEGIN IMMEDIATE");
  try {
    for (const page& each : pages) save_page(each, doubles);
    run("COMMIT");
  } catch (const store_error&) {
    sqlite3_exec(file_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
  return doubles;
}

void store::save_page(const page& each, unsigned& doubles) {
  sqlite3_stmt* const add = add_comment_.get();
  for (const comment& said : each.comments) {
    sqlite3_bind_int64(add, 1, static_cast<sqlite3_int64>(said.id));
    sqlite3_bind_int64(add, 2, each.which.video);
    sqlite3_bind_text(add, 3, said.author.data(), static_cast<int>(said.author.size()), SQLITE_STATIC);
    sqlite3_bind_int64(add, 4, said.likes);
    sqlite3_bind_text(add, 5, said.text.data(), static_cast<int>(said.text.size()), SQLITE_STATIC);
    step(add_comment_);
    doubles += sqlite3_changes(file_.get()) == 0;
  }
  sqlite3_bind_int64(add_page_.get(), 1, each.which.video);
  sqlite3_bind_int64(add_page_.get(), 2, each.which.page);
  step(add_page_);
}

std::set<std::pair<unsigned, unsigned>> store::saved_pages() {
  std::set<std::pair<unsigned, unsigned>> pages;
  const statement all = prepare("SELECT video, page FROM pages");
  while (step(all))
    pages.emplace(sqlite3_column_int64(all.get(), 0), sqlite3_column_int64(all.get(), 1));
  return pages;
}

std::uint64_t store::count() {
  const statement all = prepare("SELECT count(*) FROM comments");
  step(all);
  return static_cast<std::uint64_t>(sqlite3_column_int64(all.get(), 0));
}

void store::run(const char* sql) {
  if (sqlite3_exec(file_.get(), sql, nullptr, nullptr, nullptr)) fail();
}

store::statement store::prepare(const char* sql) {
  sqlite3_stmt* made = nullptr;
  if (sqlite3_prepare_v2(file_.get(), sql, -1, &made, nullptr)) fail();
  return statement(made);
}

// True if there is a row; without one the statement is ready for its next use.
bool store::step(const statement& which) {
  const int outcome = sqlite3_step(which.get());
  if (outcome == SQLITE_ROW) return true;
  const int failed = sqlite3_reset(which.get());
  if (failed) fail();
  return false;
}

void store::fail() const {
  throw store_error(fmt::format("{}: {}", name_, file_ ? sqlite3_errmsg(file_.get()) : "out of memory"));
}
