#include "things.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cstring>

namespace differential {

namespace {

std::atomic<int> deliveries[64];

ends socket_pair_of(int domain, int type) {
  int both[2];
  must(::socketpair(domain, type | SOCK_CLOEXEC, 0, both), "socketpair");
  return {fd(both[0]), fd(both[1])};
}

sockaddr_in loopback() {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return at;
}

void own_name(int socket, sockaddr_in& into) {
  socklen_t length = sizeof into;
  must(::getsockname(socket, reinterpret_cast<sockaddr*>(&into), &length), "getsockname");
}

}  // namespace

void fd::close() {
  if (n_ >= 0) ::close(std::exchange(n_, -1));
}

ends stream_pair(int flags) { return socket_pair_of(AF_UNIX, SOCK_STREAM | flags); }
ends datagram_pair(int flags) { return socket_pair_of(AF_UNIX, SOCK_DGRAM | flags); }
ends seqpacket_pair(int flags) { return socket_pair_of(AF_UNIX, SOCK_SEQPACKET | flags); }

ends pipe_pair(int flags) {
  int both[2];
  must(::pipe2(both, O_CLOEXEC | flags), "pipe2");
  return {fd(both[0]), fd(both[1])};
}

ends fifo_pair() {
  char folder[] = "/tmp/differential.XXXXXX";
  if (!::mkdtemp(folder)) must(-1, "mkdtemp");
  const std::string path = std::string(folder) + "/fifo";
  must(::mkfifo(path.c_str(), 0600), "mkfifo");
  // Opened for both directions first, so that neither open waits for the other.
  const fd both(must(::open(path.c_str(), O_RDWR | O_CLOEXEC), "open"));
  ends made{fd(must(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open")),
            fd(must(::open(path.c_str(), O_WRONLY | O_CLOEXEC), "open"))};
  ::unlink(path.c_str());
  ::rmdir(folder);
  return made;
}

ends pty_pair() {
  int master = -1, slave = -1;
  termios raw{};
  ::cfmakeraw(&raw);
  must(::openpty(&master, &slave, nullptr, &raw, nullptr), "openpty");
  return {fd(slave), fd(master)};
}

fd tcp_socket(int flags) { return fd(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket")); }

listener tcp_listener(int backlog, int flags) {
  listener made{tcp_socket(flags), loopback()};
  must(::bind(made.socket, made.name(), sizeof made.address), "bind");
  must(::listen(made.socket, backlog), "listen");
  own_name(made.socket, made.address);
  return made;
}

full_listener::full_listener() {
  for (int i = 0; i < 3; ++i) {
    filling.push_back(tcp_socket(SOCK_NONBLOCK));
    connect(filling.back(), at.name(), sizeof at.address);
    moment(5ms);
  }
  // One that found no place would try again, and take it from the connect that is looked at.
  std::erase_if(filling, [](const fd& one) {
    pollfd p{one, POLLOUT, 0};
    return ::poll(&p, 1, 0) == 0;
  });
}

ends tcp_pair() {
  const listener at = tcp_listener();
  fd theirs = tcp_socket();
  must(::connect(theirs, at.name(), sizeof at.address), "connect");
  return {fd(must(::accept4(at.socket, nullptr, nullptr, SOCK_CLOEXEC), "accept4")), std::move(theirs)};
}

ends udp_pair() {
  fd made[2];
  sockaddr_in name[2];
  for (int i = 0; i < 2; ++i) {
    made[i] = fd(must(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
    name[i] = loopback();
    must(::bind(made[i], reinterpret_cast<sockaddr*>(&name[i]), sizeof name[i]), "bind");
    own_name(made[i], name[i]);
  }
  for (int i = 0; i < 2; ++i)
    must(::connect(made[i], reinterpret_cast<sockaddr*>(&name[1 - i]), sizeof name[i]), "connect");
  return {std::move(made[0]), std::move(made[1])};
}

unix_name::unix_name(int n) {
  address.sun_family = AF_UNIX;
  const std::string name = "bide-differential-" + std::to_string(::getpid()) + "-" + std::to_string(n);
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

fd unix_listener(const unix_name& at, int backlog, int type) {
  fd made(must(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0), "socket"));
  must(::bind(made, at.name(), at.length), "bind");
  must(::listen(made, backlog), "listen");
  return made;
}

fd regular_file(std::string_view contents) {
  char path[] = "/tmp/differential.XXXXXX";
  fd made(must(::mkostemp(path, O_CLOEXEC), "mkostemp"));
  ::unlink(path);
  must(::pwrite(made, contents.data(), contents.size(), 0), "pwrite");
  return made;
}

void set_nonblocking(int fd) { must(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK), "fcntl"); }

void set_timeout(int fd, int which, milliseconds length) {
  const timeval value{length.count() / 1000, length.count() % 1000 * 1000};
  must(::setsockopt(fd, SOL_SOCKET, which, &value, sizeof value), "setsockopt");
}

// Low enough for any kernel and high enough that sanitizers do not take it for a null pointer.
void* bad_address() { return reinterpret_cast<void*>(0x10); }

void shrink(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  must(::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length), "getsockopt");
  if (domain != AF_UNIX) return;
  const int size = 1;  // the kernel rounds it up to its minimum, socket(7)
  must(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), "setsockopt");
  must(::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), "setsockopt");
}

std::size_t fill(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  must(::fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl");
  const std::string bytes(4096, 'f');
  std::size_t all = 0;
  for (std::size_t size : {bytes.size(), std::size_t{1}})
    for (ssize_t n; (n = ::write(fd, bytes.data(), size)) > 0;) all += static_cast<std::size_t>(n);
  must(::fcntl(fd, F_SETFL, flags), "fcntl");
  return all;
}

void empty(int socket) {
  std::string room(65536, 0);
  while (::recv(socket, room.data(), room.size(), MSG_DONTWAIT) > 0) {
  }
}

std::string read_all(int fd, std::size_t n) {
  std::string bytes(n, 0);
  std::size_t have = 0;
  while (have < n) {
    const ssize_t got = ::read(fd, bytes.data() + have, n - have);
    if (got == -1 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

std::string pattern(std::size_t n) {
  std::string bytes(n, 0);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(i * 31 % 251);
  return bytes;
}

std::string digest(std::string_view bytes) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return std::to_string(bytes.size()) + " bytes, checksum " + std::to_string(hash % 1'000'000'007);
}

counting_handler::counting_handler(int signal, int flags) : signal_(signal) {
  deliveries[signal] = 0;
  struct sigaction action {};
  action.sa_handler = [](int n) { deliveries[n].fetch_add(1); };
  action.sa_flags = flags;
  must(::sigaction(signal, &action, &before_), "sigaction");
}

counting_handler::~counting_handler() { ::sigaction(signal_, &before_, nullptr); }

int counting_handler::count() const { return deliveries[signal_]; }

static mqd_t open_nameless(long most, int flags) {
  const std::string name = "/bide-differential-" + std::to_string(getpid());
  mq_attr how{};
  how.mq_maxmsg = most;
  how.mq_msgsize = 16;
  const auto id = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | flags, 0600, &how);
  must(id, "mq_open");
  mq_unlink(name.c_str());
  return id;
}

posix_queue::posix_queue(long most, int flags) : id(open_nameless(most, flags)) {}
posix_queue::~posix_queue() { mq_close(id); }

std::string poll_bits(short bits) {
  static constexpr std::pair<short, const char*> names[] = {
      {POLLIN, "IN"},   {POLLPRI, "PRI"}, {POLLOUT, "OUT"},     {POLLERR, "ERR"},
      {POLLHUP, "HUP"}, {POLLNVAL, "NVAL"}, {POLLRDHUP, "RDHUP"},
  };
  std::string text;
  for (const auto& [bit, name] : names)
    if (bits & bit) text += (text.empty() ? "" : "|") + std::string(name);
  return text.empty() ? "0" : text;
}

}  // namespace differential
