#include "job.hpp"

#include "fetch.hpp"

#include <fmt/format.h>
#include <bide/bide.hpp>

#include <system_error>
#include <thread>

namespace {

// User k of n fetches number k, k + n, k + 2n, ...
void fetch_share(job& all, unsigned user) {
  unsigned number = user;
  try {
    const easy_handle easy = make_easy_handle(all.timeout_seconds, all.stop);
    for (; number < all.fetches && !all.stop; number += all.users) {
      const page& due = all.pages[number % all.pages.size()];
      try {
        if (fetch(easy.get(), due.url) == due.body)
          ++all.right;
        else
          all.fail(fmt::format("{}: not what the file holds", due.url));
      } catch (const std::runtime_error& error) {
        if (!all.stop) all.fail(fmt::format("{}: {}", due.url, error.what()));
      }
      all.connections += static_cast<unsigned>(connections_opened(easy.get()));
    }
  } catch (const std::exception& error) {
    all.fail(error.what(), (all.fetches - number + all.users - 1) / all.users);
  }
}

void be_user(job& all, unsigned user) {
  all.start.wait();
  fetch_share(all, user);
  --all.users_left;
}

template <class Start>
void start_users(job& all, Start start) {
  for (unsigned user = 0; user < all.users; ++user) {
    ++all.users_left;
    try {
      start(user);
    } catch (const std::system_error& error) {
      --all.users_left;
      all.stop = true;
      all.fail(fmt::format("user {} of {} cannot be started: {}", user + 1, all.users, error.what()));
      break;
    }
  }
  all.start.done();
}

}  // namespace

void job::fail(const std::string& why, unsigned lost) {
  wrong += lost;
  const std::lock_guard held(lock_);
  if (first_failure_.empty()) first_failure_ = why;
}

std::string job::first_failure() const {
  const std::lock_guard held(lock_);
  return first_failure_;
}

void run_by_fibers(job& all, const std::function<void()>& watch) {
  bide::run([&] {
    std::vector<bide::task<void>> users;
    start_users(all, [&](unsigned user) { users.push_back(bide::spawn(be_user, std::ref(all), user)); });
    watch();
    for (auto& user : users) user.get();
  });
}

void run_by_threads(job& all, const std::function<void()>& watch) {
  std::vector<std::thread> users;
  start_users(all, [&](unsigned user) { users.emplace_back(be_user, std::ref(all), user); });
  watch();
  for (auto& user : users) user.join();
}
