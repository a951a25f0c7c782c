// One client of an HTTP server, behind a proxy or not: plain blocking calls, whoever makes them.
#pragma once

#include <netinet/in.h>

#include <string>
#include <vector>

struct page {
  std::string name, body;
};

/// The files directly in `folder`. Errors: std::runtime_error if there is none.
std::vector<page> read_pages(const std::string& folder);

/// How a client comes to its origin: by itself, by a SOCKS5 proxy (RFC 1928), or by an HTTP proxy that it sends CONNECT.
enum class route { direct, socks5, http };

/// A connection that stays open over many requests.
///
/// Errors: std::runtime_error or std::system_error from each function; the connection is of no use after that.
class client {
 public:
  /// Connects to the origin, or to the proxy and has it connect to the origin.
  client(route, const sockaddr_in& proxy, const sockaddr_in& origin);
  ~client();
  client(const client&) = delete;
  client& operator=(const client&) = delete;

  /// Asks for the page and compares what comes with it, to the byte.
  void fetch(const page&);

 private:
  void ask_socks5(const sockaddr_in& origin);
  void ask_http();
  void send_all(std::string_view);
  std::size_t receive(char* to, std::size_t size);
  void receive_all(char* to, std::size_t size);

  int fd_;
  std::string origin_;
  std::string answer_;
};
