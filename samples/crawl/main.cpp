// crawl: fetches all comments of all videos of a site into an SQLite file, by processes, threads or fibers, and one line
// of JSON says what it cost.
//
//   build/samples/crawl/crawl --by fibers --site http://127.0.0.1:8080 --file crawl.db
//   build/samples/crawl/crawl --help
//
// samples/crawl/run starts a site for it and compares the ways.
#include "job.hpp"
#include "shared.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <exception>

#include <malloc.h>
#include <sys/resource.h>

namespace {

std::atomic<bool>* stop_flag = nullptr;
std::atomic<bool> interrupted{false};

void ask_to_stop(int) {
  interrupted = true;
  stop_flag->store(true);
}

// Once: a second Ctrl-C ends the program as if there were no handler.
void stop_on_interrupt(std::atomic<bool>& stop) {
  stop_flag = &stop;
  struct sigaction action {};
  action.sa_handler = ask_to_stop;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

// A source holds a connection and libcurl's own pair of sockets.
void raise_file_limit() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

// What came is freed when it is saved, and room for as much is needed at once again: it stays with the process.
void keep_memory() {
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_TOP_PAD, 1 << 20);
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
}

double cpu_seconds() {
  double sum = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage used{};
    getrusage(who, &used);
    for (const timeval& t : {used.ru_utime, used.ru_stime})
      sum += static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) try {
  const shared<fetch_settings> settings;  // a pool's processes count and stop together
  fetch_settings& how = *settings;
  std::string by = "fibers", file;
  unsigned concurrency = 64, workers = 1;
  double timeout = 10;

  CLI::App options{"Crawls a site's comments into an SQLite file; a second run goes on where the first one stopped."};
  options.add_option("--by", by, "who runs the function that fetches a page")
      ->check(CLI::IsMember({"processes", "threads", "fibers"}))
      ->capture_default_str();
  options.add_option("--concurrency", concurrency, "pages fetched at the same time")
      ->check(CLI::Range(1, 20'000))
      ->capture_default_str();
  options.add_option("--workers", workers, "kernel threads that run fibers")->check(CLI::Range(1, 64))->capture_default_str();
  options.add_option("--site", how.site, "such as http://127.0.0.1:8080")->required();
  options.add_option("--file", file, "where the comments go")->required();
  options.add_option("--timeout", timeout, "of one attempt to fetch a page, in seconds")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  options.add_option("--attempts", how.attempts, "for each page")->check(CLI::Range(1, 100))->capture_default_str();
  options.footer("Exit status: 0 all saved, 1 something is missing, 2 cannot start, 130 interrupted.");
  try {
    options.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return options.exit(error) == 0 ? 0 : 2;
  }
  how.timeout_ms = static_cast<long>(timeout * 1000);

  keep_memory();
  raise_file_limit();
  stop_on_interrupt(how.stop);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  store to(file);
  const auto start = std::chrono::steady_clock::now();
  const double cpu_at_start = cpu_seconds();
  job all(how, to, fmt::format("{} {}", concurrency, by));
  {
    source first(how);
    all.pages = fetch_list(first);
  }
  const std::size_t in_all = all.pages.size();
  const auto saved = to.saved_pages();
  std::erase_if(all.pages, [&](const page_ref& which) { return saved.contains({which.video, which.page}); });
  if (all.pages.size() < in_all)
    fmt::print(stderr, "crawl: {} of {} pages are saved already\n", in_all - all.pages.size(), in_all);

  if (by == "processes")
    crawl_by_processes(all, concurrency);
  else if (by == "threads")
    crawl_by_threads(all, concurrency);
  else
    crawl_by_fibers(all, concurrency, workers);

  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  const bool complete = all.fetched() == all.pages.size() && !all.doubles();
  fmt::print(R"({{"by":"{}","concurrency":{},"workers":{},"pages":{},"comments":{},"seconds":{:.3f},"cpu_seconds":{:.3f},)"
             R"("peak_memory_kib":{},"retries":{},"failed":{},"doubles":{},"interrupted":{}}})"
             "\n",
             by, concurrency, workers, all.fetched(), all.comments(), passed.count(), cpu_seconds() - cpu_at_start,
             all.peak_memory_kib(), how.retries.load(), all.failed(), all.doubles(), interrupted.load());
  if (all.doubles()) fmt::print(stderr, "crawl: {} comments came twice; each is stored once\n", all.doubles());
  if (const std::string why = all.first_failure(); !why.empty())
    fmt::print(stderr, "crawl: {} pages failed: {}\n", all.failed(), why);
  if (!complete)
    fmt::print(stderr, "crawl: {} comments are saved in {}; the same command goes on from there\n", to.count(), file);
  return complete ? 0 : interrupted ? 130 : 1;
} catch (const std::exception& error) {
  fmt::print(stderr, "crawl: {}\n", error.what());
  return interrupted ? 130 : 2;
}
