// Host names. Only /etc/hosts, /etc/services and numbers are asked for, so that no test depends on a network.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netdb.h>
#include <unistd.h>

#include <cstring>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

std::string verdict(int answer) { return answer == 0 ? "found" : gai_strerror(answer); }

std::string numeric(const sockaddr* at) {
  char text[INET6_ADDRSTRLEN] = "?";
  int port = 0;
  if (at->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(at);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    port = ntohs(v4->sin_port);
  } else if (at->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(at);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    port = ntohs(v6->sin6_port);
  }
  return std::string(text) + ":" + std::to_string(port);
}

void resolve(actor& me, const char* host, const char* service, addrinfo hints) {
  addrinfo* list = nullptr;
  const std::string what = std::string("getaddrinfo ") + (host ? host : "-") + " " + (service ? service : "-");
  // errno is of no meaning here but for EAI_SYSTEM.
  me.note(what, verdict(getaddrinfo(host, service, &hints, &list)));
  for (const addrinfo* one = list; one; one = one->ai_next)
    me.note("is", numeric(one->ai_addr) + " type " + std::to_string(one->ai_socktype) +
                      (one->ai_canonname ? std::string(" named ") + one->ai_canonname : ""));
  if (list) freeaddrinfo(list);
}

addrinfo hints_of(int family, int type, int flags = 0) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = type;
  hints.ai_flags = flags;
  return hints;
}

void note_host(actor& me, std::string_view what, const hostent* host) {
  if (!host) return me.note(what, "none");
  std::string text = std::string(host->h_name) + " length " + std::to_string(host->h_length);
  for (char** at = host->h_addr_list; *at; ++at) {
    char number[INET6_ADDRSTRLEN];
    inet_ntop(host->h_addrtype, *at, number, sizeof number);
    text += std::string(" ") + number;
  }
  me.note(what, text);
}

}  // namespace

TEST_SUITE("differential/names") {
  TEST_CASE("getaddrinfo finds what the system's files say") {
    compare([](actor& me) {
      resolve(me, "localhost", "80", hints_of(AF_INET, SOCK_STREAM));
      resolve(me, "localhost", "80", hints_of(AF_UNSPEC, SOCK_STREAM));
      resolve(me, "localhost", nullptr, hints_of(AF_INET, 0, AI_CANONNAME));
      resolve(me, "127.0.0.1", "443", hints_of(AF_INET, SOCK_STREAM, AI_NUMERICHOST));
      resolve(me, "::1", "443", hints_of(AF_INET6, SOCK_DGRAM));
      resolve(me, nullptr, "8080", hints_of(AF_INET, SOCK_STREAM, AI_PASSIVE));
      resolve(me, nullptr, "8080", hints_of(AF_INET, SOCK_STREAM));
    });
  }

  TEST_CASE("getaddrinfo refuses what makes no sense") {
    compare([](actor& me) {
      resolve(me, "not a number", "80", hints_of(AF_INET, SOCK_STREAM, AI_NUMERICHOST));
      resolve(me, "127.0.0.1", "no-such-service", hints_of(AF_INET, SOCK_STREAM));
      resolve(me, "127.0.0.1", "http", hints_of(AF_INET, SOCK_STREAM, AI_NUMERICSERV));
      resolve(me, "::1", nullptr, hints_of(AF_INET, SOCK_STREAM, AI_NUMERICHOST));
      resolve(me, nullptr, nullptr, hints_of(AF_INET, SOCK_STREAM));
      resolve(me, "localhost", "80", hints_of(77, SOCK_STREAM));
      resolve(me, "localhost", "80", hints_of(AF_INET, 99));
      resolve(me, "localhost", "80", hints_of(AF_INET, SOCK_STREAM, 1 << 30));
    });
  }

  TEST_CASE("gethostbyname and its kin find what the system's files say") {
    compare([](actor& me) {
      note_host(me, "gethostbyname", gethostbyname("localhost"));
      note_host(me, "gethostbyname of a number", gethostbyname("127.0.0.9"));
      note_host(me, "gethostbyname2", gethostbyname2("localhost", AF_INET));
      in_addr at{htonl(INADDR_LOOPBACK)};
      note_host(me, "gethostbyaddr", gethostbyaddr(&at, sizeof at, AF_INET));
      hostent host{}, *found = nullptr;
      char room[1024];
      int error = 0;
      me.note("gethostbyname_r", gethostbyname_r("localhost", &host, room, sizeof room, &found, &error));
      note_host(me, "it found", found);
      me.note("gethostbyname2_r", gethostbyname2_r("localhost", AF_INET, &host, room, sizeof room, &found, &error));
      note_host(me, "it found", found);
      me.note("gethostbyaddr_r", gethostbyaddr_r(&at, sizeof at, AF_INET, &host, room, sizeof room, &found, &error));
      note_host(me, "it found", found);
    });
  }

  TEST_CASE("gethostbyname and its kin say why not, in h_errno") {
    compare([](actor& me) {
      h_errno = 0;
      note_host(me, "an address of 3 bytes", gethostbyaddr("abc", 3, AF_INET));
      me.note("h_errno", h_errno);
      h_errno = 0;
      note_host(me, "an empty name", gethostbyname(""));
      me.note("h_errno is set", h_errno != 0);
      h_errno = 0;
      note_host(me, "an unknown family", gethostbyname2("localhost", 77));
      hostent host{}, *found = &host;
      char small[4];
      int error = 0;
      me.note("gethostbyname_r with little room",
              gethostbyname_r("localhost", &host, small, sizeof small, &found, &error));
      me.note("found nothing", found == nullptr);
      me.note("its h_errno", error);
    });
  }

  TEST_CASE("getnameinfo writes numbers and names, within its room") {
    compare([](actor& me) {
      sockaddr_in at{};
      at.sin_family = AF_INET;
      at.sin_port = htons(80);
      at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      const auto* name = reinterpret_cast<sockaddr*>(&at);
      const auto ask = [&](const char* what, socklen_t length, socklen_t room, int flags) {
        char host[64] = "", port[64] = "";
        me.note(what, verdict(getnameinfo(name, length, host, room, port, sizeof port, flags)));
        me.note("is", std::string(host) + " " + port);
      };
      ask("numeric", sizeof at, 64, NI_NUMERICHOST | NI_NUMERICSERV);
      ask("by name", sizeof at, 64, NI_NUMERICSERV);
      ask("a short address", 4, 64, NI_NUMERICHOST);
      ask("no room", sizeof at, 2, NI_NUMERICHOST | NI_NUMERICSERV);
      at.sin_family = 77;
      ask("an unknown family", sizeof at, 64, NI_NUMERICHOST);
    });
  }

  TEST_CASE("many ask at the same time and each gets its own answer") {
    compare([](actor& me) {
      std::vector<actor*> all;
      for (int i = 1; i <= 6; ++i)
        all.push_back(&me.start("asker", [i](actor& asker) {
          const std::string number = "127.0.0." + std::to_string(i);
          for (int turn = 0; turn < 20; ++turn) {
            const addrinfo hints = hints_of(AF_INET, SOCK_STREAM);
            addrinfo* list = nullptr;
            const std::string name = turn % 2 ? "localhost" : number;
            if (getaddrinfo(name.c_str(), "80", &hints, &list) != 0) return asker.note("failed", name);
            const std::string got = numeric(list->ai_addr);
            if (turn % 2 == 0 && got != number + ":80") asker.note("wrong", got);
            freeaddrinfo(list);
          }
          asker.note("done");
        }));
      for (actor* asker : all) me.join(*asker);
      me.note("all of them");
    });
  }
}
