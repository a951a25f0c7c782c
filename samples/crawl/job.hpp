// The job: fetch every page that is not saved yet, save what comes, show how far it is. The three ways to run it differ in
// who calls fetch_one, and no more.
#pragma once

#include "../fetch/progress.hpp"
#include "fetch.hpp"
#include "store.hpp"

#include <bide/wait_group.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <span>
#include <string>
#include <vector>

class job {
 public:
  job(fetch_settings& how, store& to, std::string who);

  /// The pages to fetch, those of a video beside each other.
  std::vector<page_ref> pages;

  /// Fetches a page; it is saved a little later, or counted as failed. Threads: any.
  void fetch_one(source& from, const page_ref&);
  /// Takes over a page that came. Threads: any.
  void deliver(page&&);
  /// Counts a page as failed; many of them in a row stop the job. Threads: any.
  void fail(const std::string& why);
  /// Ends the job early: no page is begun any more. Threads: any.
  void stop(const std::string& why);
  bool stopped() const { return how.stop; }

  /// Saves and shows, until `left` is at zero and everything that came is saved.
  ///
  /// Parks:    in a fiber, also while it saves: that is done on an offload thread.
  void watch(bide::wait_group& left);
  /// Saves and shows once.
  void save_and_show();

  fetch_settings& how;

  unsigned fetched() const { return fetched_; }
  unsigned failed() const { return failed_; }
  unsigned doubles() const { return doubles_; }
  std::uint64_t comments() const { return comments_; }
  std::string first_failure() const;

  /// Counts what other processes of the job take.
  void add_memory(std::uint64_t kib) { memory_kib_ += kib; }
  /// The most that was resident at a time.
  std::uint64_t peak_memory_kib() const;

 private:
  std::string line() const;

  store& store_;
  const std::string who_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  progress progress_;

  std::atomic<unsigned> fetched_{0}, failed_{0}, failed_in_a_row_{0};
  std::atomic<std::uint64_t> comments_{0};  // that are saved
  unsigned doubles_ = 0;                    // whoever watches
  std::atomic<std::uint64_t> memory_kib_{0};

  mutable std::mutex lock_;    // never held over a wait
  std::vector<page> came_;     // guarded by lock_
  std::string first_failure_;  // guarded by lock_
};

void crawl_by_processes(job& all, unsigned concurrency);
void crawl_by_threads(job& all, unsigned concurrency);
void crawl_by_fibers(job& all, unsigned concurrency, unsigned workers);
