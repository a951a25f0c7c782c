#include "apart.hpp"

#include <bide/run.hpp>
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <system_error>

namespace differential {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr auto patience = 30s;
#else
constexpr auto patience = 15s;
#endif

int open_descriptors() {
  DIR* listing = ::opendir("/proc/self/fd");
  int n = 0;
  while (::readdir(listing)) ++n;
  ::closedir(listing);
  return n;
}

void play(const script& tell, means how, transcript& into) {
  actor first(how, into, "first");
  try {
    tell(first);
  } catch (const broken_scenario& broken) {
    first.note("BROKEN: " + broken.why);
  }
}

// DIFFERENTIAL_FILES=offloaded in the environment has what waits for a disk wait on an offload thread.
bide::file_calls where_files_wait() {
  const char* const where = std::getenv("DIFFERENTIAL_FILES");
  return where && std::string_view(where) == "offloaded" ? bide::file_calls::offloaded : bide::file_calls::direct;
}

// The life of the process that plays a scenario; 0 workers: on threads. Never returns.
[[noreturn]] void stage(const script& tell, unsigned workers, transcript& into) {
  const int before = open_descriptors();
  try {
    if (workers == 0)
      play(tell, means::threads, into);
    else
      bide::run([&] { play(tell, means::fibers, into); }, {.workers = workers, .files = where_files_wait()});
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "bide::run throws %s\n", error.what());
    std::_Exit(2);
  }
  const int left = open_descriptors() - before;
  if (left > 0) std::fprintf(stderr, "%d descriptors are left open\n", left);
  std::_Exit(left > 0 ? 3 : 0);
}

// Waits for the process, kills one that does not end, and says in words how it ended; "" as it should.
std::string last_words(pid_t child) {
  int status = 0;
  for (const auto last = std::chrono::steady_clock::now() + patience;; moment()) {
    if (::waitpid(child, &status, WNOHANG) == child) break;
    if (std::chrono::steady_clock::now() < last) continue;
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return "does not end";
  }
  if (WIFSIGNALED(status)) return std::string("dies of SIG") + ::sigabbrev_np(WTERMSIG(status));
  const int code = WEXITSTATUS(status);
  if (code == 0) return "";
  return code == 3 ? "leaves descriptors open" : "exits with " + std::to_string(code);
}

ending read(const transcript& from, const std::string& end) {
  ending all{{}, end.empty() || end.starts_with("dies of")};
  const unsigned actors = std::min(from.actors.load(), transcript::most);
  for (unsigned i = 0; i < actors; ++i) {
    const notebook& book = from.books[i];
    for (std::string_view rest(book.text, book.used); !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      if (line.starts_with("BROKEN")) all.well = false;
      all.noted.push_back(std::string(book.name) + ": " + std::string(line));
      rest.remove_prefix(line.size() + 1);
    }
    if (book.inside[0]) all.noted.push_back(std::string(book.name) + " is still in " + book.inside);
  }
  if (!end.empty()) all.noted.push_back("the process " + end);
  return all;
}

}  // namespace

ending run_apart(const script& tell, unsigned workers) {
  void* room = ::mmap(nullptr, sizeof(transcript), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) throw std::bad_alloc();
  auto* into = ::new (room) transcript{};
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == -1) throw std::bad_alloc();
  if (child == 0) stage(tell, workers, *into);
  ending all = read(*into, last_words(child));
  ::munmap(room, sizeof(transcript));
  return all;
}

std::string show(const lines& threads, const lines& fibers) {
  const auto [a, b] = std::mismatch(threads.begin(), threads.end(), fibers.begin(), fibers.end());
  const auto [x, y] = std::mismatch(threads.rbegin(), std::make_reverse_iterator(a), fibers.rbegin(),
                                    std::make_reverse_iterator(b));
  std::string text;
  if (a != threads.begin()) text += "\n    both     " + *(a - 1);
  for (auto line = a; line != x.base(); ++line) text += "\n    wanted   " + *line;
  for (auto line = b; line != y.base(); ++line) text += "\n    fibers   " + *line;
  return text;
}

}  // namespace differential
