// crawl-site: a site with comments on videos, as JSON over HTTP, in blocking code on one kernel thread.
//
//   build/samples/crawl/crawl-site --port 8080
//   curl http://127.0.0.1:8080/videos                      [{"video":1,"comments":57}, ...]
//   curl 'http://127.0.0.1:8080/videos/1/comments?page=3'  {"video":1,"page":3,"comments":[{"id":41, ...}, ...]}
//
// Each connection is a fiber that reads a request, sleeps as long as the page's latency is, and writes the answer, with
// libc's own names. Everything is a function of the seed; what is meant to go wrong is asked for with --trouble.
#include "corpus.hpp"

#include <fmt/format.h>
#include <bide/bide.hpp>
#include <CLI/CLI.hpp>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>

#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace {

using clock_type = std::chrono::steady_clock;

struct settings {
  unsigned short port = 0;
  unsigned comments = 332'830;
  std::uint64_t seed = 1;
  double latency_ms = 20;
  unsigned rate_limit = 0;
  std::map<std::string, double> trouble;  // kind -> share of the requests for pages
};

std::string answer(std::string_view status, std::string_view body, std::string_view more = "") {
  return fmt::format("HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", status,
                     body.size(), more, body);
}

std::string page_body(const corpus& all, unsigned number, unsigned page) {
  const video& of = all.videos()[number - 1];
  rapidjson::StringBuffer text;
  rapidjson::Writer<rapidjson::StringBuffer> out(text);
  out.StartObject();
  out.Key("video"), out.Uint(number);
  out.Key("page"), out.Uint(page);
  out.Key("comments"), out.StartArray();
  const unsigned first = (page - 1) * corpus::comments_per_page;
  for (unsigned k = first; k < std::min(first + corpus::comments_per_page, of.comments); ++k) {
    const comment_text said = all.at(of.first_id + k);
    out.StartObject();
    out.Key("id"), out.Uint64(of.first_id + k);
    out.Key("author"), out.String(said.author.data(), static_cast<unsigned>(said.author.size()));
    out.Key("likes"), out.Uint(said.likes);
    out.Key("text"), out.String(said.text.data(), static_cast<unsigned>(said.text.size()));
    out.EndObject();
  }
  out.EndArray(), out.EndObject();
  return {text.GetString(), text.GetSize()};
}

std::string list_body(const corpus& all) {
  std::string text = "[";
  for (std::size_t k = 0; k < all.videos().size(); ++k)
    text += fmt::format("{}{{\"video\":{},\"comments\":{}}}", k ? "," : "", k + 1, all.videos()[k].comments);
  return text + "]";
}

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](timeval t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

class site {
 public:
  explicit site(const settings& how) : how_(how), all_(how.seed, how.comments), list_(answer("200 OK", list_body(all_))) {
    // Made beforehand, so that what the site takes of the machine while it is crawled is little.
    for (unsigned number = 1; number <= all_.videos().size(); ++number) {
      first_page_.push_back(pages_.size());
      for (unsigned page = 1; page <= corpus::pages_of(all_.videos()[number - 1]); ++page)
        pages_.push_back(answer("200 OK", page_body(all_, number, page)));
    }
    cpu_at_start_ = cpu_seconds();
  }

  void accept_all(int listener);
  std::string statistics() const;
  std::size_t pages() const { return pages_.size(); }

 private:
  void serve(int peer);
  bool answer_one(int peer, std::string_view request);
  bool answer_page(int peer, std::size_t index, std::uint64_t request);
  const std::string* page_at(std::string_view target, std::size_t& index) const;
  std::string trouble_of(std::uint64_t request) const;
  bool over_the_limit();

  const settings how_;
  const corpus all_;
  const std::string list_;
  std::vector<std::string> pages_;
  std::vector<std::size_t> first_page_;
  std::uint64_t requests_ = 0, limited_ = 0, troubled_ = 0, connections_ = 0, now_ = 0, most_ = 0;
  double budget_ = 0, cpu_at_start_ = 0;
  clock_type::time_point budget_at_ = clock_type::now();
};

bool send_all(int peer, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(peer, text.data(), text.size());
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void site::accept_all(int listener) {
  const int yes = 1;
  while (true) {
    const int peer = accept(listener, nullptr, nullptr);
    if (peer >= 0) {
      setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      ++connections_;
      bide::spawn([this, peer] {
        serve(peer);
        close(peer);
      });
    } else if (errno == ECANCELED) {
      return;
    } else {
      std::perror("crawl-site: accept"), sleep(1);  // as when too many files are open: some will be closed
    }
  }
}

void site::serve(int peer) {
  char data[2048];
  std::size_t held = 0;
  while (true) {
    const std::size_t end = std::string_view(data, held).find("\r\n\r\n");
    if (end == std::string_view::npos) {
      const ssize_t n = held < sizeof data ? read(peer, data + held, sizeof data - held) : 0;
      if (n <= 0) return;
      held += static_cast<std::size_t>(n);
      continue;
    }
    if (!answer_one(peer, {data, end})) return;
    held -= end + 4;
    std::memmove(data, data + end + 4, held);
  }
}

// False ends the connection.
bool site::answer_one(int peer, std::string_view request) {
  if (!request.starts_with("GET ")) return send_all(peer, answer("405 Method Not Allowed", "{}", "Allow: GET\r\n"));
  request.remove_prefix(4);
  const std::string_view target = request.substr(0, request.find(' '));
  if (target == "/videos") return send_all(peer, list_);
  std::size_t index = 0;
  if (!page_at(target, index)) return send_all(peer, answer("404 Not Found", R"({"error":"no such page"})"));
  const std::uint64_t mine = ++requests_;
  if (over_the_limit()) {
    ++limited_;
    return send_all(peer, answer("429 Too Many Requests", R"({"error":"slower"})", "Retry-After: 1\r\n"));
  }
  most_ = std::max(most_, ++now_);
  const bool stays = answer_page(peer, index, mine);
  --now_;
  return stays;
}

bool site::answer_page(int peer, std::size_t index, std::uint64_t request) {
  // Between half and one and a half times the latency, always the same for the same page.
  bide::sleep_for(std::chrono::duration<double, std::milli>(how_.latency_ms * (0.5 + drawn(how_.seed, index))));
  const std::string_view page = pages_[index], body = page.substr(page.find("\r\n\r\n") + 4);
  const std::string kind = trouble_of(request);
  if (kind.empty()) return send_all(peer, page);
  ++troubled_;
  if (kind == "error") return send_all(peer, answer("503 Service Unavailable", R"({"error":"try again"})"));
  if (kind == "garbage") return send_all(peer, answer("200 OK", "<html>\x01\xff not what you asked for"));
  if (kind == "truncated") return send_all(peer, answer("200 OK", body.substr(0, body.size() / 2)));
  if (kind == "other") return send_all(peer, pages_[(index + 1) % pages_.size()]);
  if (kind == "cut") send_all(peer, page.substr(0, page.size() / 2));  // and no more of it
  if (kind == "stall") {
    char nothing;
    read(peer, &nothing, 1);  // until the other side gives up
  }
  return false;
}

const std::string* site::page_at(std::string_view target, std::size_t& index) const {
  unsigned number = 0, page = 0;
  constexpr std::string_view head = "/videos/", middle = "/comments?page=";
  if (!target.starts_with(head)) return nullptr;
  const char* const end = target.data() + target.size();
  auto parsed = std::from_chars(target.data() + head.size(), end, number);
  if (parsed.ec != std::errc{} || !std::string_view(parsed.ptr, end).starts_with(middle)) return nullptr;
  parsed = std::from_chars(parsed.ptr + middle.size(), end, page);
  if (parsed.ec != std::errc{} || parsed.ptr != end || !number || number > first_page_.size()) return nullptr;
  if (!page || page > corpus::pages_of(all_.videos()[number - 1])) return nullptr;
  index = first_page_[number - 1] + page - 1;
  return &pages_[index];
}

std::string site::trouble_of(std::uint64_t request) const {
  double lot = how_.trouble.empty() ? 1 : drawn(how_.seed ^ 0x7157, request);
  for (const auto& [kind, share] : how_.trouble)
    if ((lot -= share) < 0) return kind;
  return {};
}

// A bucket that holds a tenth of a second's requests.
bool site::over_the_limit() {
  if (!how_.rate_limit) return false;
  const auto now = clock_type::now();
  const double passed = std::chrono::duration<double>(now - budget_at_).count();
  budget_at_ = now;
  budget_ = std::min(budget_ + passed * how_.rate_limit, std::max(1.0, how_.rate_limit / 10.0));
  if (budget_ < 1) return true;
  budget_ -= 1;
  return false;
}

std::string site::statistics() const {
  return fmt::format(
      R"({{"requests":{},"limited":{},"troubled":{},"connections":{},"most_at_once":{},"cpu_seconds":{:.3f}}})", requests_,
      limited_, troubled_, connections_, most_, cpu_seconds() - cpu_at_start_);
}

int listen_on(unsigned short& port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
  sockaddr_in here{AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {}};
  socklen_t size = sizeof here;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&here), size) || listen(listener, SOMAXCONN) ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&here), &size))
    throw std::system_error(errno, std::generic_category(), fmt::format("cannot listen on port {}", port));
  port = ntohs(here.sin_port);
  return listener;
}

std::map<std::string, double> parse_trouble(const std::vector<std::string>& words) {
  std::map<std::string, double> trouble;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    const std::string kind = word.substr(0, equals);
    double share = -1;
    if (equals != std::string::npos) std::from_chars(word.data() + equals + 1, word.data() + word.size(), share);
    if (!(share >= 0 && share <= 1)) throw std::runtime_error(word + ": --trouble wants KIND=SHARE, a share from 0 to 1");
    constexpr std::string_view kinds[] = {"error", "close", "garbage", "truncated", "other", "cut", "stall"};
    if (std::find(std::begin(kinds), std::end(kinds), kind) == std::end(kinds))
      throw std::runtime_error(kind + ": no kind of trouble; see --help");
    trouble[kind] = share;
  }
  return trouble;
}

}  // namespace

int main(int argc, char** argv) try {
  settings how;
  std::vector<std::string> trouble;
  CLI::App options{"Serves comments on videos as JSON over HTTP on 127.0.0.1 until Ctrl-C, then says what it served."};
  options.add_option("--port", how.port, "0: one that is free; the address is printed")->capture_default_str();
  options.add_option("--comments", how.comments)->check(CLI::Range(1, 100'000'000))->capture_default_str();
  options.add_option("--seed", how.seed, "of the comments, their spread and the latencies")->capture_default_str();
  options.add_option("--latency", how.latency_ms, "of a page in ms: from half as long to half as long again")
      ->check(CLI::Range(0.0, 600'000.0))
      ->capture_default_str();
  options.add_option("--rate-limit", how.rate_limit, "requests a second; those beyond are answered 429. 0: no limit")
      ->capture_default_str();
  options.add_option("--trouble", trouble,
                     "KIND=SHARE: that share of the requests is answered with an error (503), a close, garbage, a "
                     "truncated JSON, an other page, a connection cut amid the answer, or a stall for ever");
  try {
    options.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return options.exit(error) == 0 ? 0 : 2;
  }
  how.trouble = parse_trouble(trouble);

  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  sigset_t ends{};
  sigaddset(&ends, SIGINT), sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const int listener = listen_on(how.port);
  site here(how);
  fmt::print("http://127.0.0.1:{}\n", how.port);
  std::fflush(stdout);
  bide::run(
      [&] {
        bide::spawn([&] { here.accept_all(listener); });
        signalfd_siginfo which;
        if (read(signalfd(-1, &ends, 0), &which, sizeof which) < 0) std::perror("crawl-site: signalfd");
      },
      {.stack_size = 64 * 1024});
  fmt::print("{}\n", here.statistics());
} catch (const std::exception& error) {
  fmt::print(stderr, "crawl-site: {}\n", error.what());
  return 2;
}
