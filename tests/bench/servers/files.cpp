// The floor of row 20 under civetweb: one thread that answers a request for a file with the calls civetweb answers it
// with, and waits by epoll where each of its threads polls.
//
//   bench_floor_files FOLDER [--port N]

#include "../echo/epoll_loop.hpp"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <string>
#include <string_view>

namespace {

void send_line(int connection, std::string_view line) {
  if (send(connection, line.data(), line.size(), MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
    bench::fail("send");
}

void send_file(int connection, const std::string& folder, std::string_view name) {
  const std::string path = folder + "/" + std::string(name);
  const std::string passwords = folder + "/.htpasswd";
  struct stat about;
  stat(path.c_str(), &about);
  stat(path.c_str(), &about);
  stat(passwords.c_str(), &about);
  if (stat(path.c_str(), &about) != 0) bench::fail(path.c_str());
  const int file = open(path.c_str(), O_RDONLY);
  fcntl(file, F_SETFD, FD_CLOEXEC);
  send_line(connection, "HTTP/1.1 200 OK\r\n");
  send_line(connection, "Cache-Control: max-age=3600\r\n");
  send_line(connection, "Content-Type: application/octet-stream\r\n");
  send_line(connection, "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n");
  send_line(connection, "Etag: \"386d4380.1024\"\r\n");
  send_line(connection, "Content-Length: " + std::to_string(about.st_size) + "\r\n");
  send_line(connection, "Accept-Ranges: bytes\r\n");
  send_line(connection, "Date: Sat, 01 Jan 2000 00:00:00 GMT\r\n");
  send_line(connection, "Connection: keep-alive\r\n");
  send_line(connection, "\r\n");
  off_t from = 0;
  sendfile(connection, file, &from, static_cast<std::size_t>(about.st_size));
  close(file);
}

// As the only client of it asks: a whole "GET /name HTTP/1.1" at a time.
void answer(int connection, const std::string& folder) {
  constexpr std::string_view get = "GET /";
  char request[16384];
  const ssize_t got = recv(connection, request, sizeof request, 0);
  const std::string_view words(request, got > 0 ? static_cast<std::size_t>(got) : 0);
  const auto end = words.find(' ', get.size());
  if (!words.starts_with(get) || end == words.npos) {
    close(connection);
    return;
  }
  send_file(connection, folder, words.substr(get.size(), end - get.size()));
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) errno = EINVAL, bench::fail("a folder");
  const std::string folder = arguments[1];
  const bench::server how(count - 1, arguments + 1);
  bench::epoll_loop loop;
  const auto accept = [&] {
    // civetweb sets O_NONBLOCK, and TCP_NODELAY only if it is told to.
    const int connection = accept4(how.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection >= 0) loop.watch(connection);
  };
  loop.run(how.listener, accept, [&](int connection) { answer(connection, folder); });
}
