#include "job.hpp"

#include <fmt/format.h>
#include <bide/offload.hpp>

#include <fstream>

using namespace std::chrono_literals;

namespace {

constexpr auto between_saves = 200ms;
constexpr unsigned too_many_in_a_row = 20;

}  // namespace

job::job(fetch_settings& how, store& to, std::string who) : how(how), store_(to), who_(std::move(who)) {}

void job::fetch_one(source& from, const page_ref& which) {
  try {
    deliver(fetch_page(from, which));
  } catch (const fetch_error& error) {
    if (!stopped()) fail(error.what());
  }
}

void job::deliver(page&& came) {
  ++fetched_;
  if (failed_in_a_row_.load(std::memory_order_relaxed)) failed_in_a_row_ = 0;
  const std::lock_guard held(lock_);
  came_.push_back(std::move(came));
}

void job::fail(const std::string& why) {
  ++failed_;
  {
    const std::lock_guard held(lock_);
    if (first_failure_.empty()) first_failure_ = why;
  }
  if (++failed_in_a_row_ == too_many_in_a_row)
    stop(fmt::format("{} pages failed one after the other, the last: {}", too_many_in_a_row, why));
}

void job::stop(const std::string& why) {
  how.stop = true;
  const std::lock_guard held(lock_);
  first_failure_ = why;
}

std::string job::first_failure() const {
  const std::lock_guard held(lock_);
  return first_failure_;
}

// Not ru_maxrss, which a process inherits from the one that started it: getrusage(2) keeps it across execve.
std::uint64_t job::peak_memory_kib() const {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return memory_kib_ + std::stoull(line.substr(6));
  return memory_kib_;
}

void job::watch(bide::wait_group& left) {
  while (left.wait_until(bide::deadline::after(between_saves)) == bide::wait_result::expired) save_and_show();
  save_and_show();
  progress_.show_last(line());
}

void job::save_and_show() {
  std::vector<page> due;
  {
    const std::lock_guard held(lock_);
    due.swap(came_);
  }
  try {
    doubles_ += bide::offload([&] { return store_.save(due); });
    for (const page& each : due) comments_ += each.comments.size();
  } catch (const store_error& error) {
    failed_ += static_cast<unsigned>(due.size());
    fetched_ -= static_cast<unsigned>(due.size());
    stop(fmt::format("cannot save: {}", error.what()));
  }
  progress_.show(line());
}

std::string job::line() const {
  const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const unsigned done = fetched_ + failed_;
  const double part = pages.empty() ? 1 : static_cast<double>(done) / static_cast<double>(pages.size());
  constexpr int width = 24;
  const int full = static_cast<int>(part * width);
  return fmt::format("{} [{:=<{}}{:.<{}}] {:3.0f} %  {} of {} pages, {:.0f}/s, {:.0f} s left, {} retries, {} failed", who_, "",
                     full, "", width - full, part * 100, done, pages.size(), done / passed,
                     done ? passed / part - passed : 0, how.retries.load(), failed_.load());
}
