// While a fiber waits inside libc its worker runs others.
#include "nss_slow.h"
#include "support.hpp"

#include <aliases.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <nss.h>
#include <pwd.h>
#include <shadow.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <wordexp.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

using namespace api;

namespace {

// Makes a call that waits until `let_go` was called. Returns whether the others had turns meanwhile.
template <class Call, class LetGo>
bool others_go_on(Call call, LetGo let_go) {
  const ticker others;
  std::atomic<bool> begun = false, over = false;
  bool went_on = false;
  std::thread looks([&] {
    while (!begun) usleep(500);
    usleep(20'000);  // by then it waits
    went_on = !over && others.goes_on() && !over;
    let_go();
  });
  begun = true;
  call();
  over = true;
  looks.join();
  return went_on;
}

// What a look-up by the slow service has seen.
const ticker* beside_look_ups;
std::atomic<int> asked, went_on, on_offload_threads;

void look_up_waits() {
  ++asked;
  went_on += beside_look_ups->goes_on();
  char name[16] = {};
  prctl(PR_GET_NAME, name);  // which it has from the worker, before that goes on
  on_offload_threads += strcmp(name, "bide-offload") == 0;
}

struct look_up {
  const char* name;
  std::function<void()> make;
};

const std::vector<look_up> look_ups{
    {"getpwnam", [] { getpwnam("nobody-is-called-so"); }},
    {"getpwuid", [] { getpwuid(4'000'000); }},
    {"getpwnam_r", [] {
      passwd to, *found;
      char room[256];
      getpwnam_r("nobody-is-called-so", &to, room, sizeof room, &found);
    }},
    {"getpwuid_r", [] {
      passwd to, *found;
      char room[256];
      getpwuid_r(4'000'000, &to, room, sizeof room, &found);
    }},
    {"getpwent", [] { getpwent(); }},
    {"getspnam", [] { getspnam("nobody-is-called-so"); }},
    {"getspent", [] { getspent(); }},
    {"getgrnam", [] { getgrnam("nobody-is-called-so"); }},
    {"getgrgid", [] { getgrgid(4'000'000); }},
    {"getgrnam_r", [] {
      group to, *found;
      char room[256];
      getgrnam_r("nobody-is-called-so", &to, room, sizeof room, &found);
    }},
    {"getgrgid_r", [] {
      group to, *found;
      char room[256];
      getgrgid_r(4'000'000, &to, room, sizeof room, &found);
    }},
    {"getgrent", [] { getgrent(); }},
    {"getgrouplist", [] {
      gid_t groups[4];
      int count = 4;
      getgrouplist("nobody-is-called-so", 1, groups, &count);
    }},
    {"getservbyname", [] { getservbyname("nothing-is-called-so", "tcp"); }},
    {"getservbyport", [] { getservbyport(1, "tcp"); }},
    {"getservbyname_r", [] {
      servent to, *found;
      char room[256];
      getservbyname_r("nothing-is-called-so", "tcp", &to, room, sizeof room, &found);
    }},
    {"getservbyport_r", [] {
      servent to, *found;
      char room[256];
      getservbyport_r(1, "tcp", &to, room, sizeof room, &found);
    }},
    {"getservent", [] { getservent(); }},
    {"getprotobyname", [] { getprotobyname("nothing-is-called-so"); }},
    {"getprotobynumber", [] { getprotobynumber(77); }},
    {"getprotoent", [] { getprotoent(); }},
    {"getnetbyname", [] { getnetbyname("nothing-is-called-so"); }},
    {"getnetbyaddr", [] { getnetbyaddr(0x7f, AF_INET); }},
    {"getnetent", [] { getnetent(); }},
    {"getaliasbyname", [] { getaliasbyname("nobody-is-called-so"); }},
    {"innetgr", [] { innetgr("nothing-is-called-so", "host", nullptr, nullptr); }},
    {"gethostbyname", [] { gethostbyname("nothing.is.called.so"); }},
    {"gethostbyaddr", [] {
      const in_addr at{htonl(INADDR_LOOPBACK)};
      gethostbyaddr(&at, sizeof at, AF_INET);
    }},
    {"gethostent", [] { gethostent(); }},
    {"getaddrinfo", [] {
      addrinfo* found = nullptr;
      if (getaddrinfo("nothing.is.called.so", nullptr, nullptr, &found) == 0) freeaddrinfo(found);
    }},
    {"getnameinfo", [] {
      const sockaddr_in at{AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {}};
      char host[64];
      getnameinfo(reinterpret_cast<const sockaddr*>(&at), sizeof at, host, sizeof host, nullptr, 0, 0);
    }},
};

}  // namespace

TEST_SUITE("api/inside") {
  TEST_CASE("a look-up of a user, a group, a service, a network or a host waits on an offload thread, and others go on") {
    const ending e = in_child([] {
      for (const char* of : {"passwd", "group", "initgroups", "shadow", "services", "protocols", "networks", "aliases", "netgroup", "hosts"})
        __nss_configure_lookup(of, "slow");
      nss_slow_asked = look_up_waits;
      bide::run([] {
        const ticker others;
        beside_look_ups = &others;
        for (const look_up& each : look_ups) {
          asked = went_on = on_offload_threads = 0;
          each.make();
          if (asked && went_on == asked && on_offload_threads == asked) continue;
          fprintf(stderr, "%s: asked %d times, on offload threads %d, others went on %d\n", each.name, +asked,
                  +on_offload_threads, +went_on);
          _exit(1);
        }
      });
    });
    CHECK(e.exited(0));
  }

  TEST_CASE("a line for the log waits for who shows it, and others go on") {
    const ending e = in_child([] {
      int shown[2];
      REQUIRE(pipe(shown) == 0);
      const int own = dup(STDERR_FILENO);
      const std::string much(static_cast<std::size_t>(fcntl(shown[1], F_GETPIPE_SZ)), 'x');
      REQUIRE(write(shown[1], much.data(), much.size()) == static_cast<ssize_t>(much.size()));
      openlog("bide-test", LOG_PERROR, LOG_USER);
      bool went_on = false;
      bide::run([&] {
        dup2(shown[1], STDERR_FILENO);
        went_on = others_go_on([] { syslog(LOG_DEBUG, "%s", "a line"); }, [&] {
          std::string all(much.size(), 0);
          if (read(shown[0], all.data(), all.size()) < 0) _exit(8);
        });
        dup2(own, STDERR_FILENO);
      });
      char line[64] = {};
      if (read(shown[0], line, sizeof line - 1) < 0 || std::string_view(line).find("a line") == std::string_view::npos) _exit(2);
      _exit(went_on ? 0 : 1);
    });
    CHECK(e.exited(0));
  }

  TEST_CASE("a command in words is waited for, and others go on") {
    bide::run([] {
      char folder[] = "/tmp/bide-inside-XXXXXX";
      REQUIRE(mkdtemp(folder));
      const std::string fifo = std::string(folder) + "/fifo", words = "one $(cat " + fifo + ") four";
      REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
      wordexp_t found{};
      CHECK(others_go_on([&] { CHECK(wordexp(words.c_str(), &found, 0) == 0); }, [&] {
        const int to = open(fifo.c_str(), O_WRONLY | O_CLOEXEC);
        CHECK(write(to, "two three", 9) == 9);
        close(to);
      }));
      REQUIRE(found.we_wordc == 4);
      CHECK(std::string(found.we_wordv[2]) == "three");
      wordfree(&found);
      unlink(fifo.c_str());
      rmdir(folder);
    });
  }
}
