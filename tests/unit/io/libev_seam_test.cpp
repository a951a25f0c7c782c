#include "lib/io/libev_seam.hpp"

#include <doctest/doctest.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/select.h>

#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/arena.hpp"
#include "lib/base/clock.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/io/loop.hpp"
#include "support/descriptors.hpp"
#include "support/runtime.hpp"
#include "support/scene.hpp"

using namespace unit;
using bide::base::now;
using bide::sys::raw;

// What libev calls.
extern "C" {
int* bide_ev___errno_location();
int bide_ev_epoll_create1(int);
int bide_ev_epoll_ctl(int, int, int, epoll_event*);
int bide_ev_epoll_wait(int, epoll_event*, int, int);
int bide_ev_poll(pollfd*, nfds_t, int);
int bide_ev_select(int, fd_set*, fd_set*, fd_set*, timeval*);
ssize_t bide_ev_read(int, void*, size_t);
ssize_t bide_ev_write(int, const void*, size_t);
int bide_ev_close(int);
int bide_ev_fcntl(int, int, ...);
void* bide_ev_malloc(size_t);
void* bide_ev_realloc(void*, size_t);
void bide_ev_free(void*);
void bide_ev___assert_fail(const char*, const char*, unsigned, const char*);
void bide_ev_perror(const char*);
}

namespace {

struct silent : bide::io::loop::listener {
  void on_ready(bide::io::watcher&) noexcept override {}
  void on_refused(int fd, int error) noexcept override { refused.emplace_back(fd, error); }
  bool wants_urgent(int) noexcept override { return urgent; }
  void on_look() noexcept override {}
  void on_seen(int, std::uint32_t) noexcept override {}
  std::vector<std::pair<int, int>> refused;
  bool urgent = false;
};

// The calling thread runs a loop's libev code, and has an epoll made as libev makes it.
struct as_libev {
  as_libev() {
    CHECK(loop.open(heard, bell) == 0);
    bide::io::seam::current() = &loop;
    epoll = bide_ev_epoll_create1(EPOLL_CLOEXEC);
  }
  ~as_libev() {
    bide_ev_close(epoll);
    bide::io::seam::current() = nullptr;
    loop.close();
  }
  fd bell{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  silent heard;
  bide::io::loop loop;
  int epoll = -1;
};

int libev_errno() { return *bide_ev___errno_location(); }

const scene assertion{"an assertion of libev", [] { bide_ev___assert_fail("libev: (1 == 2)", "ev_epoll.c", 98, "f"); }};
const scene complaint{"a complaint of libev", [] { bide_ev_perror("(libev) epoll_wait"); }};

}  // namespace

TEST_SUITE("io/libev_seam") {
  TEST_CASE("errors go to libev's own errno") {
    errno = 5;
    char room[1];
    CHECK(bide_ev_read(-1, room, 1) == -1);
    CHECK(libev_errno() == EBADF);
    CHECK(bide_ev_fcntl(0, 4711) == -1);
    CHECK(libev_errno() == EINVAL);
    CHECK(errno == 5);
  }

  TEST_CASE("what libev can answer to of epoll_ctl's errors it is told, the rest goes to the listener") {
    as_libev l;
    const fd file(raw(SYS_memfd_create, "file", 0)), counter(eventfd(0, EFD_CLOEXEC));
    epoll_event in{};
    in.events = EPOLLIN;
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_ADD, counter, &in) == 0);
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_ADD, counter, &in) == -1);
    CHECK(libev_errno() == EEXIST);
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_DEL, counter, &in) == 0);
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_MOD, counter, &in) == -1);
    CHECK(libev_errno() == ENOENT);
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_ADD, file, &in) == -1);
    CHECK(libev_errno() == EPERM);
    CHECK(l.heard.refused.empty());
    // Of these libev would make an assertion, or stop every watcher of the number.
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_ADD, 1'000'000, &in) == 0);
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_ADD, l.epoll, &in) == 0);
    CHECK(l.heard.refused == std::vector{std::pair{1'000'000, -EBADF}, std::pair{l.epoll, -EINVAL}});
  }

  TEST_CASE("who wants priority data is told of it as data to read") {
    as_libev l;
    unsigned short port = 0;
    const fd listens = listener(port);
    const fd ours(raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
    sockaddr_in at{AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {}};
    REQUIRE(raw(SYS_connect, +ours, &at, sizeof at) == 0);
    const fd theirs(raw(SYS_accept, +listens, nullptr, nullptr));
    epoll_event in{}, got{};
    in.events = EPOLLIN;
    CHECK(raw(SYS_sendto, +theirs, "!", 1, MSG_OOB, nullptr, 0) == 1);
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_ADD, ours, &in) == 0);
    CHECK(bide_ev_epoll_wait(l.epoll, &got, 1, 0) == 0);
    l.heard.urgent = true;
    in.events = EPOLLIN;
    CHECK(bide_ev_epoll_ctl(l.epoll, EPOLL_CTL_MOD, ours, &in) == 0);
    CHECK(bide_ev_epoll_wait(l.epoll, &got, 1, 0) == 1);
    CHECK((got.events & EPOLLIN) != 0);
  }

  TEST_CASE("a look waits for nothing, by whichever call") {
    as_libev l;
    const std::int64_t began = now();
    epoll_event event{};
    CHECK(bide_ev_epoll_wait(l.epoll, &event, 1, 0) == 0);
    const ends e = socket_pair();
    pollfd one{e.ours, POLLIN, 0};
    CHECK(bide_ev_poll(&one, 1, 0) == 0);
    fd_set in;
    FD_ZERO(&in);
    FD_SET(e.ours, &in);
    timeval none{0, 0};
    CHECK(bide_ev_select(e.ours + 1, &in, nullptr, nullptr, &none) == 0);
    write_text(e.theirs, "x");
    CHECK(bide_ev_poll(&one, 1, 0) == 1);
    CHECK(one.revents == POLLIN);
    FD_SET(e.ours, &in);
    CHECK(bide_ev_select(e.ours + 1, &in, nullptr, nullptr, &none) == 1);
    CHECK(FD_ISSET(e.ours, &in));
    CHECK(now() - began < bide::base::second);
  }

  TEST_CASE("its epoll is out of the way of the program's numbers, and goes when libev closes it") {
    const int before = open_descriptors();
    {
      as_libev l;
      CHECK(bide::io::is_own_fd(l.epoll));
      CHECK(bide_ev_fcntl(l.epoll, F_GETFD) == FD_CLOEXEC);
    }
    CHECK(open_descriptors() == before);
  }

  TEST_CASE("bytes go through as they are") {
    const ends p = pipe_ends();
    char room[8];
    CHECK(bide_ev_write(p.theirs, "bytes", 5) == 5);
    CHECK(bide_ev_read(p.ours, room, sizeof room) == 5);
    CHECK(std::string_view(room, 5) == "bytes");
  }

  TEST_CASE("its memory is the arena's, and keeps its contents when resized") {
    auto* block = static_cast<char*>(bide_ev_malloc(100));
    for (int i = 0; i < 100; ++i) block[i] = static_cast<char>(i);
    block = static_cast<char*>(bide_ev_realloc(block, 100'000));
    for (int i = 0; i < 100; ++i) CHECK(block[i] == static_cast<char>(i));
    bide_ev_free(block);
    bide_ev_free(bide_ev_realloc(nullptr, 10));
    bide_ev_free(nullptr);
  }

  TEST_CASE("what libev can't go on from ends the process with its words") {
    const ending broken = assertion.play();
    CAPTURE(broken.text);
    CHECK(broken.died_of(SIGABRT));
    CHECK(broken.says("libev: (1 == 2)"));
    CHECK(broken.says("ev_epoll.c"));
    const ending told = complaint.play();
    CHECK(told.died_of(SIGABRT));
    CHECK(told.says("(libev) epoll_wait"));
  }
}
