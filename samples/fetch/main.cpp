// fetch: many users fetch the files of a folder over HTTP with libcurl, as fibers of one kernel thread or as a kernel
// thread each, and one line of JSON says what it cost.
//
//   build/samples/fetch --with fibers --url http://localhost:8080/ --folder /srv/pages
//   build/samples/fetch --help
//
// samples/run starts a server for it and sets the two ways side by side.
//
// Each user keeps an easy handle, so a connection, over all its fetches; all users look the host's name up. Debian's
// libcurl does that on a short-lived pthread of its own for each lookup (but answers "localhost" itself), in both
// ways: where users are fibers, those are the only kernel threads beside the worker.
#include "fetch.hpp"
#include "job.hpp"
#include "meter.hpp"
#include "progress.hpp"
#include "site.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>

#include <sys/resource.h>
#include <unistd.h>

namespace {

std::atomic<bool>* stop_flag = nullptr;

void ask_to_stop(int) { stop_flag->store(true); }

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

// libcurl holds three files for a user, and two more while it looks a name up.
void raise_file_limit(unsigned users) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (const rlim_t needed = 5 * rlim_t{users} + 50; files.rlim_max < needed)
    fmt::print(stderr,
               "fetch: {} users need up to {} open files, the limit is {}: raise it (ulimit -Hn) or --users less\n",
               users, needed, files.rlim_max);
}

void watch(const job& all, const meter& costs, const std::string& who) {
  progress line;
  const auto text = [&] {
    return fmt::format("{}: {} of {} fetches, {:.0f}/s, {} wrong, {} kernel threads", who, all.done(), all.fetches,
                       all.done() / costs.seconds(), all.wrong.load(), costs.threads_now());
  };
  while (all.users_left > 0) {
    line.show(text());
    usleep(10'000);
  }
  line.show_last(text());
}

double rounded(double value) { return std::round(value * 100) / 100; }

nlohmann::ordered_json report(const job& all, const meter& costs, const std::string& with) {
  return {{"with", with},
          {"users", all.users},
          {"fetches", all.right.load()},
          {"errors", all.wrong.load()},
          {"interrupted", all.stop && all.done() < all.fetches},
          {"connections", all.connections.load()},
          {"seconds", rounded(costs.seconds())},
          {"fetches_per_second", rounded(all.right / costs.seconds())},
          {"cpu_us_per_fetch", all.right ? rounded(costs.cpu_seconds() * 1e6 / all.right) : 0},
          {"peak_memory_kib", costs.peak_memory_kib()},
          {"kernel_threads_peak", costs.threads_peak()},
          {"kernel_threads_median", costs.threads_median()}};
}

}  // namespace

int main(int argc, char** argv) try {
  job all;
  all.users = 1000, all.fetches = 20'000, all.timeout_seconds = 30;
  std::string with = "fibers", url, folder;

  CLI::App options{
      "Fetches the files of a folder over HTTP by many users, checks each, and prints the cost as JSON."};
  options.add_option("--with", with, "what a user is")
      ->check(CLI::IsMember({"fibers", "threads"}))
      ->capture_default_str();
  options.add_option("--url", url, "where the server shows the folder, such as http://localhost:8080/")->required();
  options.add_option("--folder", folder, "the files as they should come")->required()->check(CLI::ExistingDirectory);
  options.add_option("--users", all.users)->check(CLI::Range(1, 100'000))->capture_default_str();
  options.add_option("--fetches", all.fetches, "of all users together")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  options.add_option("--timeout", all.timeout_seconds, "of one fetch, in seconds")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  options.footer("Exit status: 0 all right, 1 some fetch failed, 2 cannot start, 130 interrupted.");
  try {
    options.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return options.exit(error) == 0 ? 0 : 2;
  }

  curl_global_init(CURL_GLOBAL_DEFAULT);
  all.pages = read_site(folder, url.ends_with('/') ? url : url + '/');
  raise_file_limit(all.users);
  stop_on_interrupt(all.stop);

  meter costs;
  const auto look_on = [&] { watch(all, costs, fmt::format("{} {}", all.users, with)); };
  if (with == "fibers")
    run_by_fibers(all, look_on);
  else
    run_by_threads(all, look_on);

  costs.stop();
  const auto result = report(all, costs, with);
  fmt::print("{}\n", result.dump());
  if (all.wrong)
    fmt::print(stderr, "fetch: {} fetches failed, the first: {}\n", all.wrong.load(), all.first_failure());
  return all.wrong ? 1 : result["interrupted"] ? 130 : 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "fetch: {}\n", error.what());
  return 2;
}
