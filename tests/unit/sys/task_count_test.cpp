#include "lib/sys/task_count.hpp"

#include <doctest/doctest.h>

#include <latch>
#include <thread>
#include <vector>

TEST_SUITE("sys/task_count") {
  TEST_CASE("every thread counts, more than one look at the directory holds too") {
    const unsigned before = bide::sys::count_tasks();
    CHECK(before >= 1);
    std::latch end(1);
    std::vector<std::thread> threads;
    for (int i = 0; i < 150; ++i) threads.emplace_back([&] { end.wait(); });
    CHECK(bide::sys::count_tasks() == before + 150);
    end.count_down();
    for (std::thread& t : threads) t.join();
  }
}
