// The job: so many users who each fetch their share, one page after the other, and compare each with what is due.
//
// One body for a user, whoever runs it; run_by_fibers and run_by_threads differ in how they start one, and no more.
#pragma once

#include "site.hpp"

#include <bide/wait_group.hpp>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

struct job {
  std::vector<page> pages;
  unsigned users = 0;
  unsigned fetches = 0;  // of all users
  long timeout_seconds = 0;

  std::atomic<bool> stop{false};  // set from a signal handler
  std::atomic<unsigned> right{0};
  std::atomic<unsigned> wrong{0};
  std::atomic<unsigned> connections{0};
  std::atomic<unsigned> users_left{0};
  bide::wait_group start{1};  // opened when all users are there, so that they work at the same time

  /// Counts `lost` fetches as wrong; the first reason is kept.
  void fail(const std::string& why, unsigned lost = 1);
  std::string first_failure() const;
  unsigned done() const { return right + wrong; }

 private:
  mutable std::mutex lock_;    // never held over a wait
  std::string first_failure_;  // guarded by lock_
};

/// Runs the users as fibers of one worker, and `watch` in the first fiber until they are through.
void run_by_fibers(job& all, const std::function<void()>& watch);

/// Runs the users as kernel threads, and `watch` in the calling one until they are through.
void run_by_threads(job& all, const std::function<void()>& watch);
