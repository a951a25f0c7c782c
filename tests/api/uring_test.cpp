// liburing as it is: its library makes its kernel calls by instructions of its own, which options::trap has park.
#include "support.hpp"

#include <liburing.h>
#include <sys/socket.h>

#include <string>
#include <vector>

using namespace api;

namespace {

class ring {
 public:
  explicit ring(unsigned flags = 0) { made = io_uring_queue_init(8, &queue, flags); }
  ~ring() {
    if (made == 0) io_uring_queue_exit(&queue);
  }
  // Asks for a read, and tells how many bytes it gave.
  int read(int fd, char* to, unsigned size) {
    io_uring_prep_read(io_uring_get_sqe(&queue), fd, to, size, 0);
    if (const int n = io_uring_submit(&queue); n != 1) return n;
    return await();
  }
  int await() {
    io_uring_cqe* done = nullptr;
    if (const int error = io_uring_wait_cqe(&queue, &done)) return error;
    const int answer = done->res;
    io_uring_cqe_seen(&queue, done);
    return answer;
  }
  io_uring queue;
  int made;
};

bool has_rings() { return ring().made == 0; }

template <class F>
void on_trapping_workers(F f) {
  if (!has_rings()) {
    MESSAGE("no io_uring here: skipped");
    return;
  }
  for (const unsigned workers : {1u, 2u}) {
    CAPTURE(workers);
    bide::run(f, {.workers = workers, .trap = bide::trap_door::on});
  }
}

}  // namespace

TEST_SUITE("api/uring" * doctest::skip(sanitized)) {
  TEST_CASE("who waits for a ring's completion waits beside the fiber that brings it about") {
    on_trapping_workers([] {
      for (const unsigned flags : {0u, unsigned{IORING_SETUP_COOP_TASKRUN}}) {
        bide::group all;
        for (int i = 0; i < 20; ++i) {
          all.spawn([flags, i] {
            int ends[2];
            REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
            auto writer = bide::spawn([&] {
              bide::sleep_for(20ms);
              const std::string text = "text " + std::to_string(i);
              return write(ends[1], text.data(), text.size());
            });
            ring r(flags);
            REQUIRE(r.made == 0);
            char text[32] = {};
            CHECK(r.read(ends[0], text, sizeof text) == writer.get());
            CHECK(std::string(text) == "text " + std::to_string(i));
            close(ends[0]), close(ends[1]);
          });
        }
      }
    });
  }

  TEST_CASE("fifty timeouts of fifty rings run beside each other, and a wait's own limit is kept") {
    on_trapping_workers([] {
      const auto start = std::chrono::steady_clock::now();
      {
        bide::group all;
        for (int i = 0; i < 50; ++i) {
          all.spawn([] {
            ring r;
            __kernel_timespec length{0, 100'000'000};
            io_uring_prep_timeout(io_uring_get_sqe(&r.queue), &length, 0, 0);
            io_uring_cqe* done = nullptr;
            __kernel_timespec limit{0, 20'000'000};
            CHECK(io_uring_submit(&r.queue) == 1);
            CHECK(io_uring_wait_cqe_timeout(&r.queue, &done, &limit) == -ETIME);
            CHECK(io_uring_peek_cqe(&r.queue, &done) == -EAGAIN);
            CHECK(r.await() == -ETIME);
          });
        }
      }
      const double took = seconds_since(start);
      CHECK(took >= 0.1);
      CHECK(took < 1.5);
    });
  }

  TEST_CASE("submitting and waiting in one call, and several at once, answer as on a thread") {
    const auto two_reads = [] {
      std::vector<int> told;
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
      for (const char c : {'a', 'b', 'c'}) REQUIRE(write(ends[1], &c, 1) == 1);
      ring r;
      char bytes[3] = {};
      for (char& b : bytes) {
        io_uring_prep_recv(io_uring_get_sqe(&r.queue), ends[0], &b, 1, 0);
        if (&b == bytes) told.push_back(io_uring_submit_and_wait(&r.queue, 1));
      }
      told.push_back(io_uring_submit_and_wait(&r.queue, 3));
      for (int i = 0; i < 3; ++i) told.push_back(r.await());
      close(ends[0]), close(ends[1]);
      return told;
    };
    std::vector<int> natively;
    if (has_rings()) natively = two_reads();
    on_trapping_workers([&] { CHECK(two_reads() == natively); });
  }

  TEST_CASE("a cancel ends the wait, and what was asked for goes on") {
    on_trapping_workers([] {
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
      auto waits = bide::spawn([&] {
        ring r;
        char byte = 0;
        CHECK(r.read(ends[0], &byte, 1) == -ECANCELED);
        CHECK(write(ends[1], "x", 1) == 1);
        CHECK(r.await() == 1);
        return byte;
      });
      until_parked(waits);
      waits.cancel();
      CHECK(waits.get() == 'x');
      close(ends[0]), close(ends[1]);
    });
  }
}
