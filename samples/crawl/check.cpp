// crawl-check: compares every comment in the crawler's file with what the site has, whoever crawled it.
//
//   build/samples/crawl/crawl-check crawl.db
#include "corpus.hpp"

#include <fmt/format.h>
#include <sqlite3.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <stdexcept>

namespace {

bool same(const corpus& all, std::uint64_t id, sqlite3_stmt* row) {
  const auto text = [&](int column) {
    return std::string_view(reinterpret_cast<const char*>(sqlite3_column_text(row, column)),
                            static_cast<std::size_t>(sqlite3_column_bytes(row, column)));
  };
  const comment_text due = all.at(id);
  return sqlite3_column_int64(row, 1) == all.video_of(id) && text(2) == due.author &&
         sqlite3_column_int64(row, 3) == due.likes && text(4) == due.text;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string name;
  unsigned comments = 332'830;
  std::uint64_t seed = 1;
  CLI::App options{"Checks that every comment of the site is stored, once and as the site has it."};
  options.add_option("file", name, "what the crawler made")->required()->check(CLI::ExistingFile);
  options.add_option("--comments", comments, "as the site was given")->capture_default_str();
  options.add_option("--seed", seed, "as the site was given")->capture_default_str();
  options.footer("Exit status: 0 all there, 1 something is missing or wrong, 2 the file cannot be read.");
  try {
    options.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return options.exit(error) == 0 ? 0 : 2;
  }

  sqlite3* file = nullptr;
  sqlite3_stmt* row = nullptr;
  if (sqlite3_open_v2(name.c_str(), &file, SQLITE_OPEN_READONLY, nullptr) ||
      sqlite3_prepare_v2(file, "SELECT id, video, author, likes, text FROM comments", -1, &row, nullptr))
    throw std::runtime_error(sqlite3_errmsg(file));
  const corpus all(seed, comments);
  std::vector<unsigned> seen(comments + 1);
  unsigned wrong = 0, strange = 0, twice = 0, missing = 0;
  int outcome;
  while ((outcome = sqlite3_step(row)) == SQLITE_ROW) {
    const auto id = static_cast<std::uint64_t>(sqlite3_column_int64(row, 0));
    if (id == 0 || id > comments)
      ++strange;
    else if (seen[id]++)
      ++twice;
    else
      wrong += !same(all, id, row);
  }
  if (outcome != SQLITE_DONE) throw std::runtime_error(sqlite3_errmsg(file));
  for (unsigned id = 1; id <= comments; ++id) missing += !seen[id];
  fmt::print("{} of {} comments stored, {} missing, {} twice, {} not as the site has them, {} the site does not have\n",
             comments - missing, comments, missing, twice, wrong, strange);
  return missing || twice || wrong || strange;
} catch (const std::exception& error) {
  fmt::print(stderr, "crawl-check: {}\n", error.what());
  return 2;
}
