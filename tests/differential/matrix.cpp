// The matrix of the differential suite: calls, conditions and kinds of descriptors; each cell is played on kernel threads
// and in fibers, on one worker and on two, and what is noted is compared.
//
//   matrix [--every N [--from N]] [--jobs N] [--markdown FILE] [NAME...]
//   matrix --check FILE
//
// --every: only each N-th cell, from one that is another each hour unless it is said. NAME: only cells whose "call,
// condition, kind" has it in. --check: whether the file is what --markdown writes if each cell comes out as it is meant to;
// nothing is played. Exit status: 1 if a cell is broken, or the file isn't.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <string_view>

#include "apart.hpp"
#include "differences.hpp"
#include "matrix_cells.hpp"

using namespace differential;

namespace {

enum class verdict : unsigned char { not_played, equal, meant, broken };

struct result {
  verdict how;
  char why[1200];
};

// What fibers are meant to note where threads note that; nothing if threads don't note what is meant to be otherwise.
lines meant_for(const cell& c, lines noted) {
  for (const meant_line& line : c.meant) {
    const auto found = std::find(noted.begin(), noted.end(), line.natively);
    if (found == noted.end()) return {};
    *found = line.in_fibers;
  }
  return noted;
}

// One turn of it. `why` says what differs and isn't meant to.
verdict compare_once(const cell& c, std::string& why) {
  const ending threads = run_apart(c.tell, 0);
  if (!threads.well) return why = "on threads already: " + show({}, threads.noted), verdict::broken;
  const lines meant = meant_for(c, threads.noted);
  if (meant.empty()) return why = "threads don't note what is meant to differ: " + show({}, threads.noted), verdict::broken;
  verdict worst = verdict::equal;
  for (const unsigned workers : {1u, 2u}) {
    const ending fibers = run_apart(c.tell, workers);
    if (fibers.noted == threads.noted) continue;
    const bool is_meant = fibers.well && fibers.noted == meant;
    if (!is_meant) why = show(meant, fibers.noted);
    worst = std::max(worst, is_meant ? verdict::meant : verdict::broken);
  }
  return worst;
}

void judge(const cell& c, result& to) {
  to.how = verdict::broken;
  for (int turn = 0; turn < 3 && to.how == verdict::broken; ++turn) {  // what is compared is timing as well
    std::string why;
    to.how = compare_once(c, why);
    std::snprintf(to.why, sizeof to.why, "%s", why.c_str());
  }
}

std::string title(const cell& c) { return c.call + ", " + c.condition + ", " + c.kind; }

// Each distinct value in the order in which they come.
template <class Of>
std::vector<std::string> distinct(const std::vector<cell>& cells, Of of) {
  std::vector<std::string> found;
  for (const cell& c : cells)
    if (std::find(found.begin(), found.end(), of(c)) == found.end()) found.push_back(of(c));
  return found;
}

void write_markdown(std::ostream& out, const std::vector<cell>& cells, const result* results, const std::string& counts) {
  out << "# The matrix\n\n"
         "Made by the build's `tests/differential/matrix --markdown lib/call/MATRIX.md`: each cell is one description of a call\n"
         "under a condition on a kind of descriptor,\n"
         "played on kernel threads with the doors shut and in fibers, on one worker and on two. Result, errno, the bytes that\n"
         "arrived, whether it waited for another, whether it came back at once when it could be done, or in its time, and what\n"
         "another sees of both ends afterwards are compared.\n\n"
         "*cancelled*: `pthread_cancel` ends a thread's call, `task::cancel` a fiber's that unwinds; then what it waited for comes,\n"
         "and is there for another.\n\n"
         "`=` equal · `meant` differs as said below · **broken** differs · empty: there is no such thing\n\n"
      << counts << "\n";
  for (const std::string& call : distinct(cells, [](const cell& c) { return c.call; })) {
    std::vector<cell> of_it;
    std::copy_if(cells.begin(), cells.end(), std::back_inserter(of_it), [&](const cell& c) { return c.call == call; });
    const auto kinds = distinct(of_it, [](const cell& c) { return c.kind; });
    out << "\n## " << call << "\n\n| |";
    for (const auto& kind : kinds) out << ' ' << kind << " |";
    out << "\n|---|" << [&] { std::string s; for (std::size_t i = 0; i < kinds.size(); ++i) s += "---|"; return s; }() << '\n';
    for (const std::string& condition : distinct(of_it, [](const cell& c) { return c.condition; })) {
      std::string row;
      bool any = false;
      for (const auto& kind : kinds) {
        const auto at = std::find_if(cells.begin(), cells.end(), [&](const cell& c) {
          return c.call == call && c.condition == condition && c.kind == kind;
        });
        const char* const words[] = {" |", " = |", " meant |", " **broken** |"};
        const auto how = at == cells.end() ? verdict::not_played : results[at - cells.begin()].how;
        row += words[static_cast<int>(how)];
        any |= how != verdict::not_played;
      }
      if (any) out << "| " << condition << " |" << row << '\n';
    }
  }
  out << "\n## What differs and is meant to\n\n| condition | threads | fibers | reason |\n|---|---|---|---|\n"
         "| closed by another | go on waiting | `EBADF`, nothing transferred | "
      << meant::closed_is_told
      << " |\n| closed by another: poll, ppoll, select, pselect | `POLLNVAL`, or set in what select leaves, when their time is over "
         "| `POLLNVAL`, or `EBADF` of select, at once | the same |\n";
}

std::string said_of(const std::size_t (&counts)[4]) {
  return std::to_string(counts[1] + counts[2] + counts[3]) + " cells: " + std::to_string(counts[1]) + " equal, " +
         std::to_string(counts[2]) + " meant, " + std::to_string(counts[3]) + " broken\n";
}

// Says where the file differs first from what it would be.
int check(const char* path, const std::vector<cell>& cells) {
  std::vector<result> results(cells.size());
  std::size_t counts[4] = {};
  std::set<std::string> titles;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    results[i].how = cells[i].meant.empty() ? verdict::equal : verdict::meant;
    ++counts[static_cast<int>(results[i].how)];
    if (!titles.insert(title(cells[i])).second) return std::printf("twice: %s\n", title(cells[i]).c_str()), 1;
  }
  std::stringstream wanted;
  write_markdown(wanted, cells, results.data(), said_of(counts));
  std::ifstream file(path);
  if (!file) return std::fprintf(stderr, "matrix: cannot read %s\n", path), 2;
  std::string ours, theirs;
  for (int line = 1;; ++line) {
    const bool more = static_cast<bool>(std::getline(wanted, ours)), is_there = static_cast<bool>(std::getline(file, theirs));
    if (!more && !is_there) return std::printf("%s", said_of(counts).c_str()), 0;
    if (more != is_there || ours != theirs) {
      return std::printf("%s:%d: wanted \"%s\", there is \"%s\"; matrix --markdown writes it anew\n", path, line,
                         more ? ours.c_str() : "its end", is_there ? theirs.c_str() : "its end"), 1;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace std::chrono;
  // A test that failed and is run once more plays the same cells.
  const auto hour = duration_cast<hours>(system_clock::now().time_since_epoch()).count();
  std::size_t every = 1, jobs = 6, from = static_cast<std::size_t>(hour);
  const char* markdown = nullptr;
  const char* checked = nullptr;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--every" && i + 1 < argc) every = std::strtoul(argv[++i], nullptr, 10);
    else if (word == "--from" && i + 1 < argc) from = std::strtoul(argv[++i], nullptr, 10);
    else if (word == "--check" && i + 1 < argc) checked = argv[++i];
    else if (word == "--jobs" && i + 1 < argc) jobs = std::strtoul(argv[++i], nullptr, 10);
    else if (word == "--markdown" && i + 1 < argc) markdown = argv[++i];
    else if (word.substr(0, 2) != "--") names.emplace_back(word);
    else return std::fprintf(stderr, "usage: matrix [--every N [--from N]] [--jobs N] [--markdown FILE] [NAME...]\n"
                                      "       matrix --check FILE\n"), 2;
  }
  const std::vector<cell> cells = matrix_cells();
  if (checked) return check(checked, cells);
  if (every == 0) return 2;
  from %= every;
  if (every > 1) std::printf("each %zuth cell, --from %zu\n", every, from);
  std::fflush(stdout);
  const auto wanted = [&](std::size_t i) {
    return i % every == from && std::all_of(names.begin(), names.end(), [&](const std::string& name) {
             return title(cells[i]).find(name) != std::string::npos;
           });
  };
  // Shared with the processes that play: each takes the next that nobody has taken.
  void* const room = mmap(nullptr, sizeof(std::atomic<std::size_t>) + cells.size() * sizeof(result), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return 2;
  auto& next = *static_cast<std::atomic<std::size_t>*>(room);
  auto* const results = reinterpret_cast<result*>(&next + 1);
  for (std::size_t job = 0; job < jobs; ++job) {
    if (fork() != 0) continue;
    for (std::size_t i; (i = next++) < cells.size();)
      if (wanted(i)) judge(cells[i], results[i]);
    _exit(0);
  }
  while (wait(nullptr) > 0) {
  }
  std::size_t counts[4] = {};
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (wanted(i) && results[i].how == verdict::not_played) results[i].how = verdict::broken;
    ++counts[static_cast<int>(results[i].how)];
    if (results[i].how == verdict::broken) std::printf("broken: %s:%s\n", title(cells[i]).c_str(), results[i].why);
  }
  const std::string said = said_of(counts);
  std::printf("%s", said.c_str());
  if (markdown) {
    std::ofstream file(markdown);
    write_markdown(file, cells, results, said);
  }
  if (!(counts[1] + counts[2] + counts[3])) return std::fprintf(stderr, "matrix: no cell of that name\n"), 2;
  return counts[3] ? 1 : 0;
}
