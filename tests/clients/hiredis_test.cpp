#include <doctest/doctest.h>
#include <hiredis/hiredis.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "client.hpp"

using namespace clients;

namespace {

struct end_session {
  void operator()(redisContext* c) const { redisFree(c); }
};
struct free_reply {
  void operator()(redisReply* r) const { freeReplyObject(r); }
};
using session = std::unique_ptr<redisContext, end_session>;
using reply = std::unique_ptr<redisReply, free_reply>;

session connect() {
  const std::string at = address("BIDE_TEST_REDIS");
  const std::size_t colon = at.find(':');
  session made(redisConnect(at.substr(0, colon).c_str(), std::stoi(at.substr(colon + 1))));
  REQUIRE(made);
  REQUIRE_MESSAGE(made->err == 0, std::string(made->errstr));
  return made;
}

template <class... Args>
reply command(const session& to, const char* format, Args... args) {
  return reply(static_cast<redisReply*>(redisCommand(to.get(), format, args...)));
}

reply next_reply(const session& from) {
  void* got = nullptr;
  return reply(redisGetReply(from.get(), &got) == REDIS_OK ? static_cast<redisReply*>(got) : nullptr);
}

std::string text(const reply& r, std::size_t element) {
  if (!r || r->type != REDIS_REPLY_ARRAY || r->elements <= element) return "?";
  return r->element[element]->str ? std::string(r->element[element]->str, r->element[element]->len) : "";
}

}  // namespace

TEST_SUITE("clients/hiredis") {
  TEST_CASE("100 fibers on one worker wait in BLPOP and each gets one element") {
    bide::run([] {
      const session pusher = connect();
      command(pusher, "DEL work");
      std::vector<std::string> got(100);
      std::vector<bide::task<void>> all;
      std::atomic<int> connected = 0;
      for (std::size_t i = 0; i < got.size(); ++i)
        all.push_back(bide::spawn([&, i] {
          const session s = connect();
          ++connected;
          got[i] = text(command(s, "BLPOP work 20"), 1);
        }));
      while (connected < 100) usleep(1000);
      for (int i = 100; i < 200; ++i) command(pusher, "RPUSH work %d", i);
      for (auto& one : all) one.get();
      std::sort(got.begin(), got.end());
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == std::to_string(100 + i));
    });
  }

  TEST_CASE("100 waits for nothing end together at the server's limit") {
    bide::run([] {
      std::vector<session> sessions(100);
      at_once(100, [&](int i) { sessions[static_cast<std::size_t>(i)] = connect(); });
      std::atomic<int> well = 0;
      const auto took = time_of([&] {
        at_once(100, [&](int i) {
          const reply r = command(sessions[static_cast<std::size_t>(i)], "BLPOP nothing 0.3");
          well += r && r->type == REDIS_REPLY_NIL;
        });
      });
      CHECK(well == 100);
      CHECK(took >= 290ms);
      CHECK(took < 2000ms);
    });
  }

  TEST_CASE("20 subscribers on two workers hear every message in order") {
    bide::run(
        [] {
          constexpr int subscribers = 20, messages = 50;
          std::atomic<int> listening = 0, in_order = 0;
          std::vector<bide::task<void>> all;
          for (int i = 0; i < subscribers; ++i)
            all.push_back(bide::spawn([&] {
              const session s = connect();
              command(s, "SUBSCRIBE news");
              ++listening;
              for (int n = 0; n < messages; ++n) in_order += text(next_reply(s), 2) == std::to_string(n);
            }));
          while (listening < subscribers) usleep(1000);
          const session speaker = connect();
          for (int n = 0; n < messages; ++n) {
            const reply r = command(speaker, "PUBLISH news %d", n);
            CHECK(r->integer == subscribers);
          }
          for (auto& one : all) one.get();
          CHECK(in_order == subscribers * messages);
        },
        {.workers = 2});
  }

  TEST_CASE("a pipeline of 20,000 commands is answered in order") {
    bide::run([] {
      std::atomic<int> well = 0;
      at_once(4, [&](int i) {
        const session s = connect();
        command(s, "DEL count%d", i);
        for (int n = 0; n < 20'000; ++n) redisAppendCommand(s.get(), "INCR count%d", i);
        for (int n = 1; n <= 20'000; ++n) {
          const reply r = next_reply(s);
          well += r && r->type == REDIS_REPLY_INTEGER && r->integer == n;
        }
      });
      CHECK(well == 80'000);
    });
  }

  TEST_CASE("a value of 8 MB goes there and back") {
    bide::run([] {
      const session s = connect();
      std::string value(8'000'000, 'v');
      for (std::size_t at = 0; at < value.size(); at += 997) value[at] = static_cast<char>('a' + at % 26);
      const reply set = command(s, "SET big %b", value.data(), value.size());
      CHECK(std::string(set->str) == "OK");
      const reply got = command(s, "GET big");
      CHECK(std::string(got->str, got->len) == value);
    });
  }

  TEST_CASE("a session's own time limit ends a wait with EAGAIN") {
    bide::run([] {
      const session s = connect();
      REQUIRE(redisSetTimeout(s.get(), {0, 200'000}) == REDIS_OK);
      reply r;
      const auto took = time_of([&] { r = command(s, "BLPOP nothing 10"); });
      CHECK_FALSE(r);
      CHECK(s->err == REDIS_ERR_IO);
      CHECK(std::string(s->errstr) == "Resource temporarily unavailable");
      CHECK(took >= 190ms);
      CHECK(took < 2000ms);
    });
  }

  TEST_CASE("a server that is not there is refused") {
    bide::run([] {
      const session s(redisConnectWithTimeout("127.0.0.1", 1, {2, 0}));
      REQUIRE(s);
      CHECK(s->err == REDIS_ERR_IO);
      CHECK(std::string(s->errstr) == "Connection refused");
    });
  }
}
