// A pool of kernel threads, each with a source of its own, that take the next page until there is none.
#include "job.hpp"

#include <system_error>
#include <thread>

void crawl_by_threads(job& all, unsigned concurrency) {
  std::atomic<std::size_t> next{0};
  bide::wait_group left;
  std::vector<std::jthread> pool;
  const auto work = [&] {
    try {
      source mine(all.how);
      for (std::size_t k; (k = next++) < all.pages.size() && !all.stopped();) all.fetch_one(mine, all.pages[k]);
    } catch (const std::exception& error) {
      all.stop(error.what());
    }
    left.done();
  };
  for (unsigned n = 0; n < concurrency; ++n) {
    left.add();
    try {
      pool.emplace_back(work);
    } catch (const std::system_error& error) {
      left.done();
      all.stop("cannot start thread " + std::to_string(n + 1) + ": " + error.what());
      break;
    }
  }
  all.watch(left);
}
