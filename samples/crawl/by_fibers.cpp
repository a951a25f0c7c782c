// A fiber for each video, and in it one for each page: so many pages at the same time as there are permits. A video is
// begun when there is one for its first page.
#include "job.hpp"

#include <bide/bide.hpp>

#include <algorithm>
#include <memory>

namespace {

// A source's connection is watched by the worker that used it, so each worker keeps its own; the last one used is the
// one that is warm.
thread_local std::vector<std::unique_ptr<source>> idle;

void crawl_page(job& all, const page_ref& which) {
  try {
    std::unique_ptr<source> mine;
    if (idle.empty()) {
      mine = std::make_unique<source>(all.how);
    } else {
      mine = std::move(idle.back());
      idle.pop_back();
    }
    all.fetch_one(*mine, which);
    idle.push_back(std::move(mine));
  } catch (const std::exception& error) {
    all.stop(error.what());
  }
}

// The caller has taken a permit for the first of the pages.
void crawl_video(job& all, std::span<const page_ref> pages, bide::semaphore& permits) {
  bide::wait_group left;
  for (const page_ref& which : pages) {
    if (&which != &pages.front()) permits.acquire();
    left.add();
    bide::spawn([&] {
      if (!all.stopped()) crawl_page(all, which);
      permits.release();
      left.done();
    });
  }
  left.wait();
}

}  // namespace

void crawl_by_fibers(job& all, unsigned concurrency, unsigned workers) {
  bide::semaphore permits(concurrency);
  bide::wait_group left;
  const auto crawl_videos = [&] {
    for (auto from = all.pages.begin(); from != all.pages.end();) {
      const auto to = std::find_if(from, all.pages.end(), [&](const page_ref& p) { return p.video != from->video; });
      permits.acquire();
      left.add();
      bide::spawn([&, from, to] {
        crawl_video(all, {from, to}, permits);
        left.done();
      });
      from = to;
    }
    left.done();
  };
  const auto crawl = [&] {
    left.add();
    bide::spawn(crawl_videos);
    all.watch(left);
  };
  bide::run(crawl, {.workers = workers});
}
