#include <doctest/doctest.h>
#include <libpq-fe.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include "client.hpp"

using namespace clients;

namespace {

struct close_connection {
  void operator()(PGconn* c) const { PQfinish(c); }
};
struct clear_result {
  void operator()(PGresult* r) const { PQclear(r); }
};
using connection = std::unique_ptr<PGconn, close_connection>;
using result = std::unique_ptr<PGresult, clear_result>;

connection connect(const char* variable = "BIDE_TEST_POSTGRES") {
  connection made(PQconnectdb(address(variable).c_str()));
  REQUIRE_MESSAGE(PQstatus(made.get()) == CONNECTION_OK, std::string(PQerrorMessage(made.get())));
  return made;
}

std::string ask(const connection& to, const std::string& query) {
  const result got(PQexec(to.get(), query.c_str()));
  const ExecStatusType how = PQresultStatus(got.get());
  if (how == PGRES_COMMAND_OK) return "ok";
  if (how != PGRES_TUPLES_OK || PQntuples(got.get()) == 0) return "error " + std::string(PQresultErrorMessage(got.get()));
  return PQgetvalue(got.get(), 0, 0);
}

}  // namespace

TEST_SUITE("clients/libpq") {
  TEST_CASE("200 fibers on one worker sleep in the server at the same time") {
    bide::run([] {
      std::vector<connection> all(200);
      at_once(200, [&](int i) { all[static_cast<std::size_t>(i)] = connect(); });
      std::atomic<int> well = 0;
      const auto took = time_of([&] {
        at_once(200, [&](int i) {
          const std::string n = std::to_string(i);
          well += ask(all[static_cast<std::size_t>(i)], "select " + n + " from pg_sleep(0.1)") == n;
        });
      });
      CHECK(well == 200);
      MESSAGE("200 x pg_sleep(0.1) on one worker: ", took.count(), " ms");
      CHECK(took < 1000ms);  // one after the other: 20 s
      CHECK(took >= 100ms);
    });
  }

  TEST_CASE("fibers of two workers each get their own rows") {
    bide::run(
        [] {
          std::atomic<int> well = 0;
          at_once(40, [&](int i) {
            const connection c = connect();
            for (int turn = 0; turn < 20; ++turn) {
              const std::string n = std::to_string(i * 1000 + turn);
              well += ask(c, "select " + n + " from pg_sleep(0.002)") == n;
            }
          });
          CHECK(well == 800);
        },
        {.workers = 2});
  }

  TEST_CASE("8 MB go to the server and come back whole, over TCP and over a unix socket") {
    for (const char* variable : {"BIDE_TEST_POSTGRES", "BIDE_TEST_POSTGRES_LOCAL"}) {
      INFO(std::string(variable));
      bide::run([&] {
        std::atomic<int> well = 0;
        at_once(4, [&](int i) {
          const connection c = connect(variable);
          std::string value(8'000'000, 'a');
          for (std::size_t at = 0; at < value.size(); at += 1001) value[at] = static_cast<char>('b' + (i + at) % 20);
          const char* values[] = {value.c_str()};
          const result got(PQexecParams(c.get(), "select $1::text", 1, nullptr, values, nullptr, nullptr, 0));
          well += PQresultStatus(got.get()) == PGRES_TUPLES_OK && value == PQgetvalue(got.get(), 0, 0);
        });
        CHECK(well == 4);
      });
    }
  }

  TEST_CASE("a notification wakes the fiber that polls for it") {
    bide::run([] {
      const connection listener = connect();
      REQUIRE(ask(listener, "listen news") == "ok");
      auto reader = bide::spawn([&] {
        std::vector<std::string> heard;
        while (heard.size() < 10) {
          pollfd wait{PQsocket(listener.get()), POLLIN, 0};
          if (poll(&wait, 1, 5000) != 1 || PQconsumeInput(listener.get()) != 1) break;
          while (PGnotify* one = PQnotifies(listener.get())) {
            heard.emplace_back(one->extra);
            PQfreemem(one);
          }
        }
        return heard;
      });
      const connection speaker = connect();
      for (int i = 0; i < 10; ++i) {
        CHECK(ask(speaker, "select pg_notify('news', '" + std::to_string(i) + "') is not null") == "t");
        usleep(1000);
      }
      CHECK(reader.get() == std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"});
    });
  }

  TEST_CASE("the server's limits and errors reach the caller") {
    bide::run([] {
      const connection c = connect();
      REQUIRE(ask(c, "set statement_timeout = '50ms'") == "ok");
      CHECK(ask(c, "select pg_sleep(5)").find("statement timeout") != std::string::npos);
      CHECK(ask(c, "select nonsense").find("does not exist") != std::string::npos);
      CHECK(ask(c, "select 7") == "7");
      const connection nobody(PQconnectdb("host=127.0.0.1 port=1 user=x dbname=x connect_timeout=2"));
      CHECK(PQstatus(nobody.get()) == CONNECTION_BAD);
      CHECK(std::string(PQerrorMessage(nobody.get())).find("refused") != std::string::npos);
    });
  }
}
