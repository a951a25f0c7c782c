// serve-load: so many connections at once to a web server, through a proxy or not, each asking for one page after the
// other as fast as answers come, and one line of JSON that says what it cost the server in question.
//
//   build/samples/serve-load --with native --pid 4711 --proxy 127.0.0.1:1080 --origin 127.0.0.1:8080 --folder /srv/pages
//
// Each connection is a fiber that makes blocking calls. samples/run starts the servers and sets the results side by side.
#include "client.hpp"
#include "server_meter.hpp"

#include <bide/bide.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>

#include "../fetch/progress.hpp"

namespace {

using clock_type = std::chrono::steady_clock;
using seconds = std::chrono::duration<double>;

volatile std::sig_atomic_t interrupted = 0;

struct load {
  std::vector<page> pages;
  route way = route::direct;
  sockaddr_in proxy{}, origin{};
  unsigned connections = 0;

  // Of the one worker, as are the fibers.
  bide::semaphore connecting{256};  // no more SYNs at a time than any listener's queue takes
  bide::wait_group all_there{1};
  bool over = false;
  unsigned connected = 0;
  std::uint64_t right = 0, wrong = 0;
  std::vector<float> milliseconds;  // of each right answer
  std::string first_failure;
};

std::unique_ptr<client> connect_in_turn(load& all) {
  all.connecting.acquire();
  const std::unique_ptr<bide::semaphore, void (*)(bide::semaphore*)> permit(
      &all.connecting, [](bide::semaphore* of) { of->release(); });
  return std::make_unique<client>(all.way, all.proxy, all.origin);
}

void be_user(load& all, unsigned number) try {
  const auto mine = connect_in_turn(all);
  ++all.connected;
  all.all_there.wait();
  for (std::size_t next = number; !all.over; ++next) {
    const auto asked = clock_type::now();
    mine->fetch(all.pages[next % all.pages.size()]);
    ++all.right;
    all.milliseconds.push_back(std::chrono::duration<float, std::milli>(clock_type::now() - asked).count());
  }
} catch (const std::exception& error) {
  if (all.wrong++ == 0) all.first_failure = error.what();
}

struct result {
  std::uint64_t requests = 0;
  double seconds = 0, cpu_seconds = 0;
  server_meter::state peak;
};

void look(load& all, const server_meter& server, progress& line, const std::string& who, result& found) {
  const auto state = server.now();
  found.peak.threads = std::max(found.peak.threads, state.threads);
  found.peak.memory_kib = std::max(found.peak.memory_kib, state.memory_kib);
  line.show(fmt::format("{}: {} of {} connected, {} requests answered, {} wrong, {} kernel threads, {:.0f} MiB", who,
                        all.connected, all.connections, all.right, all.wrong, state.threads,
                        static_cast<double>(state.memory_kib) / 1024));
}

// The first fiber: has the users connect, lets them ask for the time of the warm-up once all are there, and then measures.
result measure(load& all, const server_meter& server, const std::string& who, double warm_up, double length) {
  result found;
  progress line;
  std::vector<bide::task<void>> users;
  for (unsigned i = 0; i < all.connections; ++i) users.push_back(bide::spawn([&all, i] { be_user(all, i); }));
  const auto going_on = [&] { return !interrupted && all.wrong == 0; };
  while (all.connected < all.connections && going_on()) {
    look(all, server, line, who, found);
    bide::sleep_for(std::chrono::milliseconds(20));
  }
  const auto let_run = [&](double time) {
    const auto start = clock_type::now();
    while (seconds(clock_type::now() - start).count() < time && going_on()) {
      look(all, server, line, who, found);
      bide::sleep_for(std::chrono::milliseconds(50));
    }
    return seconds(clock_type::now() - start).count();
  };
  all.all_there.done();
  let_run(warm_up);
  all.right = 0;
  all.milliseconds.clear();
  const double cpu_before = server.cpu_seconds();
  found.seconds = let_run(length);
  found.cpu_seconds = server.cpu_seconds() - cpu_before;
  found.requests = all.right;
  all.over = true;
  for (auto& user : users) user.join();
  line.show_last(fmt::format("{}: {} requests in {:.1f} s, {} wrong", who, found.requests, found.seconds, all.wrong));
  return found;
}

float slowest_percent(std::vector<float> times) {
  if (times.empty()) return 0;
  const auto at = times.begin() + static_cast<std::ptrdiff_t>(times.size() * 99 / 100);
  std::nth_element(times.begin(), at, times.end());
  return *at;
}

sockaddr_in address_of(const std::string& text) {
  sockaddr_in address{};
  const auto colon = text.rfind(':');
  address.sin_family = AF_INET;
  if (colon == text.npos || inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1)
    throw std::runtime_error(fmt::format("{} is no IPv4 address with a port", text));
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));
  return address;
}

void raise_file_limit() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

int main(int argc, char** argv) try {
  load all;
  all.connections = 100;
  pid_t pid = 0;
  double warm_up = 0, length = 3;
  std::string with, proxy, speaks = "socks5", origin, folder;
  CLI::App options{"Loads a web server, through a proxy or not, checks each answer, and prints a server's cost as JSON."};
  options.add_option("--with", with, "what this server runs on, or this proxy, for the report")->required();
  options.add_option("--pid", pid, "its process")->required();
  options.add_option("--proxy", proxy, "the proxy's address, such as 127.0.0.1:1080");
  options.add_option("--proxy-speaks", speaks)->check(CLI::IsMember({"socks5", "http"}))->capture_default_str();
  options.add_option("--origin", origin, "the web server's address")->required();
  options.add_option("--folder", folder, "the files as they should come")->required()->check(CLI::ExistingDirectory);
  options.add_option("--connections", all.connections)->check(CLI::Range(1, 100'000))->capture_default_str();
  options.add_option("--warm-up", warm_up, "seconds, once all are connected")->check(CLI::Range(0.0, 60.0))->capture_default_str();
  options.add_option("--seconds", length, "to measure after that")->check(CLI::Range(0.1, 3600.0))->capture_default_str();
  options.footer("Exit status: 0 all right, 1 some answer was wrong, 2 cannot start, 130 interrupted.");
  try {
    options.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return options.exit(error) == 0 ? 0 : 2;
  }
  all.pages = read_pages(folder);
  if (!proxy.empty()) {
    all.way = speaks == "http" ? route::http : route::socks5;
    all.proxy = address_of(proxy);
  }
  all.origin = address_of(origin);
  raise_file_limit();
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { interrupted = 1; });

  const server_meter server(pid);
  const std::string who = fmt::format("{} connections, {}", all.connections, with);
  const result found = bide::run([&] { return measure(all, server, who, warm_up, length); });
  const double requests = static_cast<double>(std::max<std::uint64_t>(found.requests, 1));
  fmt::print("{}\n", nlohmann::ordered_json{{"with", with},
                                            {"connections", all.connections},
                                            {"requests", found.requests},
                                            {"wrong", all.wrong},
                                            {"requests_per_second", static_cast<double>(found.requests) / found.seconds},
                                            {"cpu_us_per_request", found.cpu_seconds * 1e6 / requests},
                                            {"kernel_threads", found.peak.threads},
                                            {"memory_mib", static_cast<double>(found.peak.memory_kib) / 1024},
                                            {"p99_ms", slowest_percent(all.milliseconds)}}
                         .dump());
  if (all.wrong) fmt::print(stderr, "serve-load: {} connections failed, the first: {}\n", all.wrong, all.first_failure);
  return interrupted ? 130 : all.wrong || found.requests == 0 ? 1 : 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "serve-load: {}\n", error.what());
  return 2;
}
