// A pool of processes that take the next page until there is none, and send what they got to their parent, who saves it.
//
// All of them write to one socket of whole messages (SOCK_SEQPACKET); when the last one has ended, the parent reads its
// end.
#include "job.hpp"
#include "shared.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <system_error>
#include <thread>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

enum class kind : unsigned { page, failure, memory };

struct head {
  kind what;
  page_ref which;     // page
  std::uint64_t kib;  // memory
};

struct entry {
  std::uint64_t id;
  unsigned likes, author, text;  // the last two: lengths
};

template <class T>
void put(std::string& message, const T& value) {
  message.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T take(const char*& from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  from += sizeof value;
  return value;
}

std::string packed(const page& came) {
  std::string message;
  message.reserve(8192);
  put(message, head{kind::page, came.which, 0});
  for (const comment& said : came.comments) {
    put(message, entry{said.id, said.likes, static_cast<unsigned>(said.author.size()), static_cast<unsigned>(said.text.size())});
    message += said.author;
    message += said.text;
  }
  return message;
}

page unpacked(const head& of, const char* from, std::size_t size) {
  page made{of.which, std::make_unique_for_overwrite<char[]>(size), {}};
  std::memcpy(made.body.get(), from, size);
  const char* at = made.body.get();
  while (made.comments.size() < of.which.comments) {
    const auto [id, likes, author, text] = take<entry>(at);
    made.comments.push_back({id, likes, {at, author}, {at + author, text}});
    at += author + text;
  }
  return made;
}

// What only this process has: of all that are forked from one, so that the sum is what they take of the machine.
std::uint64_t private_kib() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::uint64_t sum = 0;
  for (std::string line; std::getline(rollup, line);)
    if (line.starts_with("Private_")) sum += std::stoull(line.substr(line.find(':') + 1));
  return sum;
}

void send_message(int to, const std::string& message) {
  // Without a parent there is no use in going on.
  if (send(to, message.data(), message.size(), MSG_NOSIGNAL) < 0 && errno != EMSGSIZE) _exit(1);
}

[[noreturn]] void work(job& all, std::atomic<std::size_t>& next, int results, bool measures) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::signal(SIGINT, SIG_IGN);  // the parent's is the one that counts
  std::signal(SIGTERM, SIG_IGN);
  const auto failure = [&](const std::string& why) {
    std::string message;
    put(message, head{kind::failure, {}, 0});
    send_message(results, message + why);
  };
  try {
    source mine(all.how);
    for (std::size_t k; (k = next++) < all.pages.size() && !all.stopped();) {
      try {
        send_message(results, packed(fetch_page(mine, all.pages[k])));
      } catch (const fetch_error& error) {
        if (!all.stopped()) failure(error.what());
      }
    }
  } catch (const std::exception& error) {
    failure(error.what());
  }
  if (measures) {
    std::string message;
    put(message, head{kind::memory, {}, private_kib()});
    send_message(results, message);
  }
  _exit(0);
}

void receive(job& all, int results, unsigned processes) {
  std::vector<char> message(1 << 20);
  ssize_t size;
  while ((size = recv(results, message.data(), message.size(), 0)) > 0 || (size < 0 && errno == EINTR)) {
    if (size < static_cast<ssize_t>(sizeof(head))) continue;
    const char* at = message.data();
    const auto of = take<head>(at);
    const std::size_t rest = static_cast<std::size_t>(size) - sizeof of;
    switch (of.what) {
      case kind::page: all.deliver(unpacked(of, at, rest)); break;
      case kind::failure: all.fail({at, rest}); break;
      case kind::memory: all.add_memory(of.kib * processes); break;
    }
  }
}

}  // namespace

void crawl_by_processes(job& all, unsigned concurrency) {
  shared<std::atomic<std::size_t>> next;
  int results[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, results))
    throw std::system_error(errno, std::generic_category(), "socketpair");
  std::vector<pid_t> pool;
  while (pool.size() < concurrency) {
    const pid_t child = fork();
    if (child == 0) {
      close(results[0]);
      work(all, *next, results[1], pool.empty());
    }
    if (child < 0) {
      all.stop(fmt::format("cannot start process {}: {}", pool.size() + 1, std::strerror(errno)));
      break;
    }
    pool.push_back(child);
  }
  close(results[1]);
  bide::wait_group left(1);
  std::jthread receiver([&] {
    receive(all, results[0], static_cast<unsigned>(pool.size()));
    left.done();
  });
  all.watch(left);
  receiver.join();
  close(results[0]);
  for (const pid_t child : pool) {
    int status = 0;
    if (waitpid(child, &status, 0) == child && status) all.fail("a process of the pool ended before its time");
  }
}
