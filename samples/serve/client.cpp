#include "client.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace {

constexpr timeval patience{30, 0};  // longer than any queue here: what comes later is lost

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

std::size_t length_of_body(std::string_view head) {
  constexpr std::string_view name = "\r\nContent-Length: ";
  std::size_t length = 0;
  const auto at = head.find(name);
  if (!head.starts_with("HTTP/1.1 200 ") || at == head.npos)
    throw std::runtime_error(fmt::format("an answer that was not due: {}", head.substr(0, head.find('\r'))));
  std::from_chars(head.data() + at + name.size(), head.data() + head.size(), length);
  return length;
}

}  // namespace

std::vector<page> read_pages(const std::string& folder) {
  std::vector<page> pages;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    pages.push_back({entry.path().filename(), std::string(std::istreambuf_iterator<char>(in), {})});
  }
  if (pages.empty()) throw std::runtime_error(fmt::format("no file in {}", folder));
  return pages;
}

client::client(route way, const sockaddr_in& proxy, const sockaddr_in& origin)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      origin_(fmt::format("{}:{}", inet_ntoa(origin.sin_addr), ntohs(origin.sin_port))) {
  if (fd_ < 0) fail("socket");
  try {
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const sockaddr_in& first = way == route::direct ? origin : proxy;
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&first), sizeof first) != 0) fail("connect");
    if (way == route::socks5) ask_socks5(origin);
    if (way == route::http) ask_http();
  } catch (...) {
    close(fd_);
    throw;
  }
}

client::~client() { close(fd_); }

void client::ask_socks5(const sockaddr_in& origin) {
  char answer[10];
  send_all({"\5\1\0", 3});  // version 5, one way to log in: none
  receive_all(answer, 2);
  if (answer[0] != 5 || answer[1] != 0) throw std::runtime_error("the proxy wants a password");
  char request[10] = {5, 1, 0, 1};  // connect to an IPv4 address
  memcpy(request + 4, &origin.sin_addr, 4);
  memcpy(request + 8, &origin.sin_port, 2);
  send_all({request, sizeof request});
  receive_all(answer, sizeof answer);
  if (answer[1] != 0) throw std::runtime_error(fmt::format("the proxy can't connect: reply {}", answer[1]));
}

void client::ask_http() {
  send_all(fmt::format("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin_));
  // Nothing comes behind it: the origin is asked first.
  while (!answer_.ends_with("\r\n\r\n")) {
    char piece[1024];
    answer_.append(piece, receive(piece, sizeof piece));
  }
  if (answer_.find(" 200 ") != std::string_view("HTTP/1.1").size())
    throw std::runtime_error(fmt::format("the proxy can't connect: {}", answer_.substr(0, answer_.find('\r'))));
}

void client::send_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
    if (n < 0) fail("send");
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::size_t client::receive(char* to, std::size_t size) {
  const ssize_t n = recv(fd_, to, size, 0);
  if (n < 0) fail("recv");
  if (n == 0) throw std::runtime_error("the connection was closed in the middle");
  // A proxy that passes an answer on in small pieces waits for the first one's ACK before it sends the next (Nagle), and
  // the kernel would put that off for 40 ms. It forgets this setting soon: tcp(7).
  const int now = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_QUICKACK, &now, sizeof now);
  return static_cast<std::size_t>(n);
}

void client::receive_all(char* to, std::size_t size) {
  for (std::size_t have = 0; have < size;) have += receive(to + have, size - have);
}

void client::fetch(const page& wanted) {
  send_all(fmt::format("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", wanted.name, origin_));
  answer_.clear();
  std::size_t whole = answer_.npos, body = 0;
  while (answer_.size() < whole) {
    char piece[8192];
    answer_.append(piece, receive(piece, sizeof piece));
    if (whole != answer_.npos) continue;
    const auto end = answer_.find("\r\n\r\n");
    if (end == answer_.npos) continue;
    body = end + 4;
    whole = body + length_of_body(std::string_view(answer_).substr(0, body));
  }
  if (answer_.size() > whole || std::string_view(answer_).substr(body) != wanted.body)
    throw std::runtime_error(fmt::format("{} came with another content", wanted.name));
}
