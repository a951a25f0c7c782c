// What scenarios read from and write to, opened and closed; and bytes to move through it.
#pragma once

#include <mqueue.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <csignal>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actor.hpp"

namespace differential {

// A descriptor that is closed with its scope.
class fd {
 public:
  fd() = default;
  explicit fd(long n) : n_(static_cast<int>(n)) {}
  fd(fd&& other) noexcept : n_(std::exchange(other.n_, -1)) {}
  fd& operator=(fd&& other) noexcept {
    std::swap(n_, other.n_);
    return *this;
  }
  ~fd() { close(); }
  operator int() const { return n_; }
  void close();
  int release() { return std::exchange(n_, -1); }

 private:
  int n_ = -1;
};

// Two ends. Of a pipe: `ours` reads and `theirs` writes.
struct ends {
  fd ours, theirs;
};

ends stream_pair(int flags = 0);
ends datagram_pair(int flags = 0);
ends seqpacket_pair(int flags = 0);
ends pipe_pair(int flags = 0);
ends fifo_pair();
ends pty_pair();  // raw: theirs is the master
ends tcp_pair();
ends udp_pair();  // connected with each other over loopback

// The same, to loop over.
struct kind {
  std::string name;
  ends (*make)();
};
inline const kind byte_streams[] = {
    {"pipe", [] { return pipe_pair(); }}, {"fifo", fifo_pair}, {"unix stream", [] { return stream_pair(); }},
    {"tcp", tcp_pair},                    {"pty", pty_pair},
};
inline const kind stream_sockets[] = {{"unix stream", [] { return stream_pair(); }}, {"tcp", tcp_pair}};
inline const kind message_sockets[] = {
    {"unix datagram", [] { return datagram_pair(); }},
    {"unix seqpacket", [] { return seqpacket_pair(); }},
    {"udp", udp_pair},
};

// A listening socket and its address.
struct listener {
  fd socket;
  sockaddr_in address{};
  const sockaddr* name() const { return reinterpret_cast<const sockaddr*>(&address); }
};
listener tcp_listener(int backlog = 16, int flags = 0);
fd tcp_socket(int flags = 0);
// One that accepts no more: further connects wait, and are tried again by the kernel after a second.
struct full_listener {
  full_listener();
  listener at = tcp_listener(0);
  std::vector<fd> filling;
};

// An abstract unix address of this process: `n` tells several apart.
struct unix_name {
  sockaddr_un address{};
  socklen_t length = 0;
  explicit unix_name(int n);
  const sockaddr* name() const { return reinterpret_cast<const sockaddr*>(&address); }
};
fd unix_listener(const unix_name&, int backlog, int type = SOCK_STREAM);

// An unlinked regular file that holds `contents`.
fd regular_file(std::string_view contents);

void set_nonblocking(int fd);
// SO_RCVTIMEO or SO_SNDTIMEO.
void set_timeout(int fd, int which, milliseconds length);
// The value itself, hidden from a compiler that would warn about a bad argument.
template <class T>
T opaque(T value) {
  asm("" : "+r"(value));
  return value;
}
// An address that no program may touch.
void* bad_address();
// Makes the buffers of a unix socket as small as they get; TCP would crawl with such.
void shrink(int fd);
// Writes to it without waiting until nothing more goes in. Returns how much did.
std::size_t fill(int fd);
// Receives without waiting until there is nothing more.
void empty(int socket);
// Reads `n` bytes, or up to the end.
std::string read_all(int fd, std::size_t n);

// `n` bytes that do not repeat with any power of two.
std::string pattern(std::size_t n);
// The first `n` bytes; none if a call failed with n = -1.
inline std::string_view first(const char* bytes, long n) { return {bytes, n > 0 ? static_cast<std::size_t>(n) : 0}; }
// Length and a checksum.
std::string digest(std::string_view bytes);

// Counts deliveries of a signal while it lives; `flags` are sigaction's.
class counting_handler {
 public:
  counting_handler(int signal, int flags);
  ~counting_handler();
  int count() const;

 private:
  int signal_;
  struct sigaction before_ {};
};

// A POSIX queue of 16-byte messages, of which no name is left.
class posix_queue {
 public:
  explicit posix_queue(long most = 2, int flags = 0);
  ~posix_queue();
  posix_queue(const posix_queue&) = delete;
  const mqd_t id;
};

// Names of the bits set in poll's revents.
std::string poll_bits(short bits);

}  // namespace differential
