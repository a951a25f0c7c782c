#include <curl/curl.h>
#include <doctest/doctest.h>

#include <atomic>
#include <memory>

#include "client.hpp"

using namespace clients;

namespace {

// libcurl wants to be made ready once, before there are fibers.
const CURLcode ready = curl_global_init(CURL_GLOBAL_ALL);

struct end_transfer {
  void operator()(CURL* c) const { curl_easy_cleanup(c); }
};
using transfer = std::unique_ptr<CURL, end_transfer>;

std::size_t append(char* bytes, std::size_t size, std::size_t n, void* to) {
  static_cast<std::string*>(to)->append(bytes, size * n);
  return size * n;
}

struct answer {
  CURLcode how = CURLE_OK;
  long status = 0;
  std::string body;
};

transfer make_transfer() {
  transfer made(curl_easy_init());
  curl_easy_setopt(made.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(made.get(), CURLOPT_WRITEFUNCTION, append);
  return made;
}

answer fetch(const transfer& by, const std::string& url) {
  answer got;
  curl_easy_setopt(by.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(by.get(), CURLOPT_WRITEDATA, &got.body);
  got.how = curl_easy_perform(by.get());
  curl_easy_getinfo(by.get(), CURLINFO_RESPONSE_CODE, &got.status);
  return got;
}

std::string url(const std::string& path) { return address("BIDE_TEST_HTTP") + path; }

std::string page(int i) { return "this is page " + std::to_string(i) + " of the test\n"; }

std::string big_page() {
  std::string all;
  for (int i = 1; i <= 1'200'000; ++i) (all += std::to_string(i)) += '\n';
  return all;
}

}  // namespace

TEST_SUITE("clients/libcurl") {
  TEST_CASE("many fibers fetch by host name and each gets its own page") {
    REQUIRE(ready == CURLE_OK);
    for (const unsigned workers : {1u, 2u}) {
      CAPTURE(workers);
      bide::run(
          [] {
            std::atomic<int> well = 0;
            at_once(100, [&](int i) {
              const transfer t = make_transfer();
              for (int turn = 0; turn < 10; ++turn) {
                const int n = (i + turn) % 20;
                const answer got = fetch(t, url("/page" + std::to_string(n) + ".txt"));
                well += got.how == CURLE_OK && got.status == 200 && got.body == page(n);
              }
            });
            CHECK(well == 1000);
          },
          {.workers = workers});
    }
  }

  TEST_CASE("slow answers arrive at the same time on one worker") {
    bide::run([] {
      std::atomic<int> well = 0;
      const auto took = time_of([&] {
        at_once(50, [&](int) {
          const transfer t = make_transfer();
          curl_easy_setopt(t.get(), CURLOPT_RANGE, "0-29999");  // at 20 kB/s, of which the first second's come at once
          const answer got = fetch(t, url("/slow/big.txt"));
          well += got.how == CURLE_OK && got.body.size() == 30'000;
        });
      });
      CHECK(well == 50);
      MESSAGE("50 slow transfers on one worker: ", took.count(), " ms");
      CHECK(took > 300ms);   // each takes that long by itself
      CHECK(took < 6000ms);  // one after the other: more than 15 s
    });
  }

  TEST_CASE("a page of 8 MB arrives whole") {
    const std::string wanted = big_page();
    bide::run([&] {
      std::atomic<int> well = 0;
      at_once(8, [&](int) {
        const answer got = fetch(make_transfer(), url("/big.txt"));
        well += got.how == CURLE_OK && got.body == wanted;
      });
      CHECK(well == 8);
    });
  }

  TEST_CASE("an upload of 8 MB goes out whole") {
    const std::string body = big_page();
    bide::run([&] {
      const transfer t = make_transfer();
      curl_easy_setopt(t.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
      curl_easy_setopt(t.get(), CURLOPT_POSTFIELDS, body.data());
      const answer got = fetch(t, url("/length"));
      CHECK(got.how == CURLE_OK);
      CHECK(got.body == std::to_string(body.size()));
    });
  }

  TEST_CASE("a transfer's own time limit ends it in time") {
    bide::run([] {
      const transfer t = make_transfer();
      curl_easy_setopt(t.get(), CURLOPT_TIMEOUT_MS, 300L);
      answer got;
      const auto took = time_of([&] { got = fetch(t, url("/slow/big.txt")); });
      CHECK(got.how == CURLE_OPERATION_TIMEDOUT);
      CHECK(took >= 290ms);
      CHECK(took < 2000ms);
    });
  }

  TEST_CASE("errors are those that a thread would get") {
    bide::run([] {
      const transfer t = make_transfer();
      CHECK(fetch(t, url("/nothing")).status == 404);
      CHECK(fetch(t, "http://127.0.0.1:1/").how == CURLE_COULDNT_CONNECT);
      CHECK(fetch(t, "http://no-such-host.invalid/").how == CURLE_COULDNT_RESOLVE_HOST);
      CHECK(fetch(t, url("/page0.txt")).body == page(0));
    });
  }
}
