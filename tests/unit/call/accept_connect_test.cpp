#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "lib/sys/features.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::sys::raw;

namespace {

// As on a kernel that takes no requests, while it lives.
class without_requests {
 public:
  without_requests() { bide::sys::features().io_uring = false; }
  ~without_requests() { bide::sys::features().io_uring = before_; }

 private:
  bool before_ = bide::sys::features().io_uring;
};

// Over {1, 2, 4} workers, by requests and without.
template <class F>
void either_way(F f) {
  SUBCASE("by requests") { on_workers(f); }
  SUBCASE("on offload threads") {
    const without_requests none;
    on_workers(f);
  }
}

// A unix(7) listener that takes nobody: whoever connects waits in the kernel.
class full_listener {
 public:
  full_listener() : socket_(make_call(SYS_socket, AF_UNIX, SOCK_STREAM, 0)), first_(make_call(SYS_socket, AF_UNIX, SOCK_STREAM, 0)) {
    at_.sun_family = AF_UNIX;
    socklen_t size = sizeof(sa_family_t);  // the kernel picks a name: unix(7), autobind
    raw(SYS_bind, +socket_, &at_, size);
    raw(SYS_listen, +socket_, 0);
    size_ = sizeof at_;
    raw(SYS_getsockname, +socket_, &at_, &size_);
    CHECK(raw(SYS_connect, +first_, &at_, size_) == 0);
  }
  long connect(int fd) const { return make_call(SYS_connect, fd, &at_, size_); }
  long accept() const { return make_call(SYS_accept, socket_, nullptr, nullptr); }

 private:
  fd socket_, first_;
  sockaddr_un at_{};
  socklen_t size_ = 0;
};

void until_in_kernel(unsigned fibers) {
  until_parked(fibers);
  bide::sleep_for(std::chrono::milliseconds(20));  // no step tells that another thread sleeps in the kernel
}

fd unix_socket() { return fd(make_call(SYS_socket, AF_UNIX, SOCK_STREAM, 0)); }
fd tcp_socket() { return fd(make_call(SYS_socket, AF_INET, SOCK_STREAM, 0)); }

}  // namespace

TEST_SUITE("call/accept_connect") {
  TEST_CASE("an accept that waits gets the connection that comes") {
    either_way([] {
      unsigned short port = 0;
      const fd listens = listener(port);
      sockaddr_in from{};
      socklen_t size = sizeof from;
      auto accepts = bide::spawn([&] { return make_call(SYS_accept4, listens, &from, &size, SOCK_CLOEXEC); });
      until_parked(1);
      const fd ours = tcp_socket();
      CHECK(connect_to(ours, port) == 0);
      const fd theirs(accepts.get());
      CHECK(theirs >= 0);
      CHECK(raw(SYS_fcntl, +theirs, F_GETFD) == FD_CLOEXEC);
      CHECK(size == sizeof from);
      CHECK(from.sin_family == AF_INET);
      write_text(ours, "hi");
      CHECK(read_some(theirs) == "hi");
    });
  }

  TEST_CASE("of many that accept on one shared listener each connection has one") {
    either_way([] {
      unsigned short port = 0;
      const fd listens = listener(port);
      const fd shared(make_call(SYS_dup, listens));
      std::vector<bide::task<long>> accepts;
      for (int i = 0; i < 6; ++i)
        accepts.push_back(bide::spawn([&, i] { return make_call(SYS_accept, i % 2 ? listens : shared, nullptr, nullptr); }));
      until_parked(6);
      std::vector<fd> clients;
      for (int i = 0; i < 3; ++i) {
        clients.push_back(tcp_socket());
        CHECK(connect_to(clients.back(), port) == 0);
      }
      const auto done = [&] {
        int count = 0;
        for (const auto& a : accepts) count += a.done();
        return count;
      };
      until([&] { return done() == 3; });
      bide::sleep_for(std::chrono::milliseconds(5));
      CHECK(done() == 3);
      // Those who came too late go on waiting until they are cancelled, be it in the kernel.
      for (auto& a : accepts) a.cancel();
      int connections = 0;
      for (auto& a : accepts) {
        const fd got(a.get());
        connections += got >= 0;
        CHECK((got >= 0 || got.number() == -ECANCELED));
      }
      CHECK(connections == 3);
    });
  }

  TEST_CASE("a connect that nobody takes ends by a cancel") {
    either_way([] {
      const full_listener full;
      const fd ours = unix_socket();
      auto connects = bide::spawn([&] { return full.connect(ours); });
      until_in_kernel(1);
      CHECK_FALSE(connects.done());
      connects.cancel();
      CHECK(connects.get() == -ECANCELED);
    });
  }

  TEST_CASE("a connect that nobody takes ends by the close of its socket") {
    either_way([] {
      const full_listener full;
      fd ours = unix_socket();
      auto connects = bide::spawn([&] { return full.connect(ours); });
      until_in_kernel(1);
      ours.close();
      CHECK(connects.get() == -EBADF);
    });
  }

  TEST_CASE("a connect ends by a signal handler, unless it asks for its restart") {
    either_way([] {
      const full_listener full;
      const fd ours = unix_socket();
      std::atomic<bool> ended{false};
      auto notes = bide::spawn([&] {
        until_in_kernel(1);
        bide_note_signal(true);
        bide::sleep_for(std::chrono::milliseconds(20));
        CHECK_FALSE(ended);
        // One that comes while the call begins anew interrupts nothing, as natively.
        for (; !ended; bide::sleep_for(std::chrono::milliseconds(20))) bide_note_signal(false);
      });
      CHECK(full.connect(ours) == -EINTR);
      ended = true;
      notes.join();
    });
  }

  TEST_CASE("a connect goes on when there is room again") {
    either_way([] {
      const full_listener full;
      const fd ours = unix_socket();
      auto connects = bide::spawn([&] { return full.connect(ours); });
      until_in_kernel(1);
      const fd first(full.accept());
      CHECK(connects.get() == 0);
      const fd second(full.accept());
      CHECK(write_text(ours, "through") == 7);
      CHECK(read_some(second) == "through");
    });
  }

  TEST_CASE("connect keeps to the socket's timeout, and says what the kernel says") {
    either_way([] {
      const full_listener full;
      const fd ours = unix_socket();
      const timeval little{0, 20'000};
      make_call(SYS_setsockopt, ours, SOL_SOCKET, SO_SNDTIMEO, &little, sizeof little);
      CHECK(full.connect(ours) == -EAGAIN);
    });
  }

  TEST_CASE("nobody there is ECONNREFUSED, a second connect EISCONN") {
    either_way([] {
      unsigned short port = 0;
      {
        const fd closed = listener(port);
      }
      const fd refused = tcp_socket();
      CHECK(connect_to(refused, port) == -ECONNREFUSED);
      const fd listens = listener(port);
      const fd ours = tcp_socket();
      CHECK(connect_to(ours, port) == 0);
      CHECK(connect_to(ours, port) == -EISCONN);
    });
  }

  TEST_CASE("accept on what does not listen, and on what is no socket, fails at once") {
    either_way([] {
      const fd deaf = tcp_socket();
      CHECK(make_call(SYS_accept, deaf, nullptr, nullptr) == -EINVAL);
      const ends pipe = pipe_ends();
      CHECK(make_call(SYS_accept, pipe.ours, nullptr, nullptr) == -ENOTSOCK);
      CHECK(make_call(SYS_accept, -1, nullptr, nullptr) == -EBADF);
    });
  }

  TEST_CASE("faults of an accept reach the caller, and nothing is accepted by them") {
    const auto faulty = [](int before) {
      unsigned short port = 0;
      const fd listens = listener(port);
      const fd ours = tcp_socket();
      connect_to(ours, port);
      fault_plan faults;
      for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPERM}) {
        faults.on(SYS_accept4).call(faults.calls(SYS_accept4) + before + 1).fail_with(error);
        CHECK(make_call(SYS_accept, listens, nullptr, nullptr) == -error);
      }
      const fd theirs(make_call(SYS_accept, listens, nullptr, nullptr));
      CHECK(theirs >= 0);
      CHECK(faults.faults() == 6);
    };
    SUBCASE("by requests") {
      in_runtime([&] { faulty(0); });
    }
    SUBCASE("after a poll") {
      const without_requests none;
      in_runtime([&] { faulty(1); });  // the kernel takes no request
    }
  }

  TEST_CASE("a request that ends for nothing is made again") {
    on_workers([] {
      unsigned short port = 0;
      const fd listens = listener(port);
      fault_plan faults;
      for (const long nr : {SYS_accept4, SYS_connect}) faults.on(nr).calls(1, 3).fail_with(EINTR);
      const fd ours = tcp_socket();
      CHECK(connect_to(ours, port) == 0);
      const fd theirs(make_call(SYS_accept, listens, nullptr, nullptr));
      CHECK(theirs >= 0);
      CHECK(faults.faults() == 6);
      write_text(ours, "one");
      CHECK(read_some(theirs) == "one");
      bide::timeout soon(std::chrono::milliseconds(10));
      CHECK(make_call(SYS_accept, listens, nullptr, nullptr) == -ETIMEDOUT);  // there was one connection only
    });
  }

  TEST_CASE("an accept that finds the connection gone waits for the next") {
    // Goal: the other who was quicker is invisible to the caller. Method: the first attempt after the request, which the
    // kernel doesn't take, is scripted to find nothing.
    const without_requests none;
    in_runtime([] {
      unsigned short port = 0;
      const fd listens = listener(port);
      const fd ours = tcp_socket();
      connect_to(ours, port);
      fault_plan faults;
      faults.on(SYS_accept4).call(2).fail_with(EAGAIN);
      const fd theirs(make_call(SYS_accept, listens, nullptr, nullptr));
      CHECK(theirs >= 0);
      CHECK(faults.calls(SYS_accept4) == 3);
    });
  }

  TEST_CASE("faults of a connect that need not wait reach the caller") {
    in_runtime([] {
      const fd ours(make_call(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      fault_plan faults;
      for (const int error : {ENOBUFS, ENOMEM, EADDRNOTAVAIL, EINTR, EINPROGRESS}) {
        faults.on(SYS_connect).call(faults.calls(SYS_connect) + 1).fail_with(error);
        CHECK(connect_to(ours, 1) == -error);
      }
      CHECK(faults.faults() == 5);
    });
  }
}
