// The floor of row 20 under two proxies: one thread that moves what comes with the calls they move it with, and waits by
// epoll where each of their threads polls.
//
//   bench_floor_relay microsocks|tinyproxy [--port N]

#include "../echo/epoll_loop.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace {

struct proxy {
  std::size_t piece;  // what it reads at a time, at most
  ssize_t (*pass_on)(int fd, const void* data, std::size_t size);
  in_port_t (*asked_for)(int client);  // where on loopback its client wants to go; 0 if that leaves instead
  std::string_view connected;          // what the client is told then
};

// RFC 1928: a greeting of 3 bytes, a request of 10 that ends with the port.
in_port_t asked_by_socks5(int client) {
  char words[10];
  if (recv(client, words, 3, MSG_WAITALL) != 3 || write(client, "\5\0", 2) != 2) return 0;
  if (recv(client, words, 10, MSG_WAITALL) != 10) return 0;
  in_port_t port;
  memcpy(&port, words + 8, sizeof port);
  return port;
}

// "CONNECT 127.0.0.1:8080 HTTP/1.1", and what else it may say up to an empty line.
in_port_t asked_by_http(int client) {
  std::string words;
  while (!words.ends_with("\r\n\r\n")) {
    char piece[512];
    const ssize_t got = recv(client, piece, sizeof piece, 0);
    if (got <= 0) return 0;
    words.append(piece, static_cast<std::size_t>(got));
  }
  return htons(static_cast<in_port_t>(std::atoi(words.c_str() + words.find(':') + 1)));
}

ssize_t send_on(int fd, const void* data, std::size_t size) { return send(fd, data, size, MSG_NOSIGNAL); }

constexpr proxy microsocks{1024, write, asked_by_socks5, {"\5\0\0\1\0\0\0\0\0\0", 10}};
constexpr proxy tinyproxy{2048, send_on, asked_by_http, "HTTP/1.0 200 Connection established\r\n\r\n"};

class relay {
 public:
  relay(const proxy& as, bench::epoll_loop& loop) : as_(as), loop_(loop) {}

  void accept(int listener) {
    const int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = as_.asked_for(client);
    if (address.sin_port == 0) {
      close(client);
      return;
    }
    const int origin = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(origin, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) bench::fail("connect");
    if (as_.pass_on(client, as_.connected.data(), as_.connected.size()) < 0) bench::fail("the client");
    join(client, origin);
    join(origin, client);
  }

  void pass_on(int from) {
    const int to = peers_[static_cast<std::size_t>(from)];
    if (to < 0) return;  // ended by its peer, in this turn of the loop
    char piece[2048];
    const ssize_t got = read(from, piece, as_.piece);
    if (got > 0 && as_.pass_on(to, piece, static_cast<std::size_t>(got)) == got) return;
    for (const int fd : {from, to}) {
      peers_[static_cast<std::size_t>(fd)] = -1;
      close(fd);
    }
  }

 private:
  void join(int fd, int peer) {
    if (peers_.size() <= static_cast<std::size_t>(fd)) peers_.resize(static_cast<std::size_t>(fd) + 1, -1);
    peers_[static_cast<std::size_t>(fd)] = peer;
    loop_.watch(fd);
  }

  const proxy& as_;
  bench::epoll_loop& loop_;
  std::vector<int> peers_;  // by descriptor; -1 for one that is none
};

}  // namespace

int main(int count, char** arguments) {
  const std::string_view name = count > 1 ? arguments[1] : "";
  if (name != "microsocks" && name != "tinyproxy") errno = EINVAL, bench::fail("microsocks or tinyproxy");
  std::signal(SIGPIPE, SIG_IGN);
  const bench::server how(count - 1, arguments + 1);
  bench::epoll_loop loop;
  relay all(name == "microsocks" ? microsocks : tinyproxy, loop);
  loop.run(how.listener, [&] { all.accept(how.listener); }, [&](int fd) { all.pass_on(fd); });
}
