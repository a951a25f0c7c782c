// fetch-table: sets what several runs of fetch printed side by side.
//
//   build/samples/fetch-table threads-1.json fibers-1.json threads-2.json fibers-2.json
//
// Runs of one kind are one column, their median one figure. Exit status 1 if any run had an error or was interrupted.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using json = nlohmann::json;

struct column {
  std::string with;
  std::vector<json> runs;
};

struct row {
  const char* title;
  const char* key;
  double unit;
  int decimals;
  bool comparable;
};

constexpr row rows[] = {
    {"fetches/s", "fetches_per_second", 1, 0, true},
    {"CPU per fetch, us", "cpu_us_per_fetch", 1, 1, true},
    {"peak memory, MiB", "peak_memory_kib", 1024, 1, true},
    {"kernel threads, median", "kernel_threads_median", 1, 0, true},
    {"kernel threads, peak", "kernel_threads_peak", 1, 0, true},
    {"connections", "connections", 1, 0, false},
    {"right fetches", "fetches", 1, 0, false},
    {"errors", "errors", 1, 0, false},
};

std::vector<column> read_runs(int count, char** files) {
  std::vector<column> columns;
  for (int i = 0; i < count; ++i) {
    std::ifstream in(files[i]);
    const json run = json::parse(in, nullptr, false);
    if (!run.is_object()) throw std::runtime_error(fmt::format("{} is not what fetch prints", files[i]));
    const std::string with = run.at("with");
    auto to = std::find_if(columns.begin(), columns.end(), [&](const column& c) { return c.with == with; });
    if (to == columns.end()) to = columns.insert(to, {with, {}});
    to->runs.push_back(run);
  }
  return columns;
}

double median(const column& of, const row& what) {
  std::vector<double> values;
  for (const json& run : of.runs) values.push_back(run.at(what.key).get<double>() / what.unit);
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

bool all_right(const column& of) {
  return std::all_of(of.runs.begin(), of.runs.end(),
                     [](const json& run) { return run.at("errors") == 0 && run.at("interrupted") == false; });
}

}  // namespace

int main(int argc, char** argv) try {
  const auto columns = read_runs(argc - 1, argv + 1);
  if (columns.size() != 2) throw std::runtime_error("give it runs of two kinds, each what one fetch has printed");
  const column &before = columns[0], &after = columns[1];

  fmt::print("  {:<26}{:>16}{:>16}{:>12}\n", "", fmt::format("{} {}", before.runs[0].at("users").dump(), before.with),
             fmt::format("{} {}", after.runs[0].at("users").dump(), after.with), "ratio");
  for (const row& what : rows) {
    const double left = median(before, what), right = median(after, what);
    fmt::print("  {:<26}{:>16.{}f}{:>16.{}f}{:>12}\n", what.title, left, what.decimals, right, what.decimals,
               what.comparable && left > 0 ? fmt::format("{:.3g}", right / left) : "");
  }
  return all_right(before) && all_right(after) ? 0 : 1;
} catch (const std::exception& error) {
  fmt::print(stderr, "fetch-table: {}\n", error.what());
  return 2;
}
