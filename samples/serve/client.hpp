// One client of an HTTP server behind a SOCKS5 proxy: plain blocking calls, whoever makes them.
#pragma once

#include <netinet/in.h>

#include <string>
#include <vector>

struct page {
  std::string name, body;
};

/// The files directly in `folder`. Errors: std::runtime_error if there is none.
std::vector<page> read_pages(const std::string& folder);

/// A connection that stays open over many requests.
///
/// Errors: std::runtime_error or std::system_error from each function; the connection is of no use after that.
class client {
 public:
  /// Connects to the proxy and has it connect to the origin (RFC 1928).
  client(const sockaddr_in& proxy, const sockaddr_in& origin);
  ~client();
  client(const client&) = delete;
  client& operator=(const client&) = delete;

  /// Asks for the page and compares what comes with it, to the byte.
  void fetch(const page&);

 private:
  void send_all(std::string_view);
  std::size_t receive(char* to, std::size_t size);
  void receive_all(char* to, std::size_t size);

  int fd_;
  std::string origin_;
  std::string answer_;
};
