#include "lib/diag/fibers.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/descriptors.hpp"
#include "support/runtime.hpp"

using namespace unit;

namespace {

std::string list() {
  ends e = pipe_ends();
  bide::diag::list_fibers(e.theirs);
  e.theirs.close();  // an empty list ends the read as well
  std::string text(60'000, '\0');
  const long n = bide::sys::raw(SYS_read, +e.ours, text.data(), text.size());
  text.resize(static_cast<std::size_t>(n > 0 ? n : 0));
  return text;
}

bool has(const std::string& text, const std::string& words) { return text.find(words) != text.npos; }

}  // namespace

TEST_SUITE("diag/fibers") {
  TEST_CASE("each fiber is listed with what it waits for") {
    in_runtime([] {
      const ends e = socket_pair();
      bide::semaphore s;
      bide::mutex m;
      m.lock();
      std::vector<bide::task<void>> tasks;
      tasks.push_back(bide::spawn({.name = "reader"}, [&] { read_some(e.ours); }));
      tasks.push_back(bide::spawn({.name = "taker"}, [&] { s.acquire(); }));
      tasks.push_back(bide::spawn({.name = "locker"}, [&] { m.lock(); }));
      tasks.push_back(bide::spawn({.name = "sleeper"}, [&] { bide::sleep_for(std::chrono::hours(1)); }));
      tasks.push_back(bide::spawn({.name = "joiner"}, [&] { tasks[0].join(); }));
      until_parked(5);
      tasks.push_back(bide::spawn({.name = "fresh"}, [] {}));
      const std::string text = list();
      INFO(text);
      CHECK(has(text, "'main': running"));
      CHECK(has(text, "'reader' (spawned at "));
      CHECK(has(text, "fibers_test.cpp:"));
      CHECK(has(text, "waits for read " + std::to_string(e.ours)));
      CHECK(has(text, "waits for a semaphore"));
      CHECK(has(text, "waits for a mutex"));
      CHECK(has(text, "waits for a time"));
      CHECK(has(text, "waits for the end of fiber " + std::to_string(tasks[0].id())));
      CHECK(has(text, "): ready"));
      write_text(e.theirs, "x");
      s.release();
      m.unlock();
      tasks[3].cancel();
      for (auto& t : tasks) t.join();
    });
  }

  TEST_CASE("of very many fibers the first hundred are listed and the rest counted") {
    in_runtime([] {
      bide::wait_group g(1);
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < 150; ++i) tasks.push_back(bide::spawn([&] { g.wait(); }));
      until_parked(150);
      const std::string text = list();
      CHECK(std::count(text.begin(), text.end(), '\n') == 101);
      CHECK(has(text, "and 51 more"));
      g.done();
      for (auto& t : tasks) t.join();  // before what they wait for goes
    });
  }

  TEST_CASE("without a runtime there is nothing to list") { CHECK(list().empty()); }
}
