#include "lib/base/text.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <string>

using bide::base::text;

TEST_SUITE("base/text") {
  TEST_CASE("numbers, pointers and words are put together") {
    text t;
    t << "n=" << 0 << ' ' << -7 << ' ' << 42u << ' ' << std::uint64_t{18446744073709551615u} << ' '
      << std::numeric_limits<std::int64_t>::min() << ' ' << reinterpret_cast<const void*>(std::uintptr_t{0xdeadbeef}) << ' '
      << static_cast<const void*>(nullptr);
    CHECK(t.view() == "n=0 -7 42 18446744073709551615 -9223372036854775808 0xdeadbeef 0x0");
  }

  TEST_CASE("what does not fit is cut off") {
    text t;
    for (int i = 0; i < 300; ++i) t << "12345";
    CHECK(t.view().size() == 1024);
    CHECK(t.view().substr(1020) == "1234");
    t << 99;
    CHECK(t.view().size() == 1024);
  }

  TEST_CASE("a size is told in the largest unit that is whole") {
    const auto told = [](std::size_t bytes) {
      text t;
      return std::string(append_size(t, bytes).view());
    };
    CHECK(told(0) == "0 bytes");
    CHECK(told(1023) == "1023 bytes");
    CHECK(told(16 * 1024) == "16 KiB");
    CHECK(told(16 * 1024 + 1) == "16385 bytes");
    CHECK(told(3 << 20) == "3 MiB");
    CHECK(told(std::size_t{1} << 30) == "1024 MiB");
  }

  TEST_CASE("it goes to stderr in one write, with errno left alone") {
    // A socket that keeps messages apart shows how many writes there were.
    int both[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, both) == 0);
    const int before = dup(2);
    dup2(both[1], 2);
    text t;
    t << "one " << 2 << " three\n";
    errno = 77;
    t.to_stderr();
    const int error = errno;
    dup2(before, 2);
    char got[100];
    CHECK(std::string(got, static_cast<std::size_t>(recv(both[0], got, sizeof got, MSG_DONTWAIT))) == "one 2 three\n");
    CHECK(recv(both[0], got, sizeof got, MSG_DONTWAIT) == -1);
    CHECK(error == 77);
    for (const int fd : {both[0], both[1], before}) close(fd);
  }
}
