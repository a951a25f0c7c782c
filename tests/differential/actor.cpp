#include "actor.hpp"

#include <bide/run.hpp>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

namespace differential {

namespace {

// ThreadSanitizer leaves its symbolizer's errno behind when it looks whether a report is suppressed.
#if defined(__SANITIZE_THREAD__)
constexpr bool reports_spoil_errno = true;
#else
constexpr bool reports_spoil_errno = false;
#endif

// Past all doors, so that asking changes nothing for the fibers.
long raw(long nr, long a = 0, long b = 0, long c = 0, long d = 0) {
  register long fourth __asm__("r10") = d;
  __asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
  return nr;
}
long word(const void* p) { return reinterpret_cast<long>(p); }

int kernel_thread() { return static_cast<int>(raw(SYS_gettid)); }

void copy_to(char* to, std::size_t room, std::string_view text) {
  const std::size_t n = std::min(room - 1, text.size());
  std::memcpy(to, text.data(), n);
  to[n] = 0;
}

notebook& open_book(transcript& into, std::string_view name) {
  const unsigned n = into.actors.fetch_add(1);
  if (n >= transcript::most) throw broken_scenario{"more actors than a transcript has room for"};
  copy_to(into.books[n].name, sizeof into.books[n].name, name);
  return into.books[n];
}

// What proc(5) says of a thread of this process.
std::string stat_of(const char* thread) {
  char path[300], text[512];
  std::snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread);
  const long file = raw(SYS_openat, AT_FDCWD, word(path), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const long n = raw(SYS_read, file, word(text), sizeof text);
  raw(SYS_close, file);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
}

bool is_asleep(const std::string& stat) {
  const std::size_t name_end = stat.rfind(')');
  return name_end != stat.npos && stat.compare(name_end + 1, 2, " S") == 0;
}

bool sleeps(int thread) { return is_asleep(stat_of(std::to_string(thread).c_str())); }

// A fiber whose call is made elsewhere waits as soon as it has passed the call on; the call itself only then.
bool offload_threads_sleep() {
  const long folder = raw(SYS_openat, AT_FDCWD, word("/proc/self/task"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return true;
  alignas(dirent64) char entries[4096];
  bool all = true;
  for (long n; (n = raw(SYS_getdents64, folder, word(entries), sizeof entries)) > 0;) {
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      at += entry->d_reclen;
      const std::string stat = stat_of(entry->d_name);
      all = all && (stat.find("(bide-offload)") == stat.npos || is_asleep(stat));
    }
  }
  raw(SYS_close, folder);
  return all;
}

}  // namespace

actor::actor(means how, transcript& into, std::string_view name)
    : how_(how), into_(into), book_(open_book(into, name)) {}

actor::~actor() {
  for (auto& other : started_) join(*other);
}

void actor::note(std::string_view line) {
  const std::size_t n = line.size() + 1;
  if (book_.used + n > notebook::room) throw broken_scenario{"an actor noted more than its notebook holds"};
  std::memcpy(book_.text + book_.used, line.data(), line.size());
  book_.text[book_.used + line.size()] = '\n';
  book_.used += static_cast<std::uint32_t>(n);
}

void actor::note(std::string_view what, std::string_view value) {
  note(std::string(what) + " = " + std::string(value));
}

void actor::enter(std::string_view what) {
  copy_to(book_.inside, sizeof book_.inside, what);
  thread_id_ = kernel_thread();
  calls_.fetch_add(1);
}

void actor::leave() {
  calls_.fetch_add(1);
  book_.inside[0] = 0;
}

outcome actor::conclude(std::string_view what, long value, int error) {
  std::string line = std::string(what) + " -> " + std::to_string(value);
  if (value == -1)
    line += " " + error_name(error);
  else if (error != untouched && !reports_spoil_errno)
    line += ", and errno became " + error_name(error);
  note(line);
  return {value, value == -1 ? error : 0};
}

void actor::note_time(std::string_view what, milliseconds asked, std::chrono::nanoseconds taken) {
  // The kernel counts socket timeouts in jiffies, so they may come one jiffy (10 ms at most) early.
  constexpr auto early = 10ms;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr auto late = 2500ms;
#else
  constexpr auto late = 900ms;
#endif
  const char* verdict = taken < asked - early ? "before its time" : taken > asked + late ? "long after its time" : "in time";
  note(std::string(what) + " came back " + verdict);
}

void actor::perform(const script& what) {
  try {
    what(*this);
  } catch (const broken_scenario& broken) {
    note("BROKEN: " + broken.why);
  } catch (const bide::cancelled&) {
  } catch (...) {  // a thread's cancel, which goes on to its end
    idle_ = true;
    throw;
  }
  idle_ = true;
}

actor& actor::start(std::string_view name, script what, ended cancelled) {
  actor& other = *started_.emplace_back(std::make_unique<actor>(how_, into_, name));
  auto body = [&other, what = std::move(what)] { other.perform(what); };
  if (how_ == means::threads)
    other.thread_ = std::thread(std::move(body));
  else
    other.task_ = bide::spawn({.name = name, .libc_calls = cancelled == ended::unwinds ? bide::ended_call::unwinds : bide::ended_call::fails},
                              std::move(body));
  return other;
}

void actor::cancel(actor& other) {
  if (how_ == means::threads) pthread_cancel(other.thread_.native_handle());
  else other.task_.cancel();
}

void actor::join(actor& other) {
  if (std::exchange(other.joined_, true)) return;
  idle_ = true;
  if (how_ == means::threads)
    other.thread_.join();
  else
    other.task_.get();
  idle_ = false;
}

bool actor::asleep_inside(unsigned call) const {
  if (calls_ != call || (how_ == means::fibers && !offload_threads_sleep())) return false;
  // A fiber of this very worker: it does not run, since we do.
  return thread_id_ == kernel_thread() || sleeps(thread_id_);
}

void actor::until_waiting(actor& other) {
  for (;; moment()) {
    const unsigned call = other.calls_;
    if (call % 2 == 0) {
      if (other.idle_) return;
      continue;
    }
    // Twice with a moment between: one that was just about to run has run by then.
    if (!other.asleep_inside(call)) continue;
    moment(2ms);
    if (other.asleep_inside(call)) return;
  }
}

void actor::until(const std::function<bool()>& condition) {
  while (!condition()) moment();
}

void moment(milliseconds length) {
  timespec left{length.count() / 1000, length.count() % 1000 * 1'000'000};
  while (::nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
}

long must(long value, std::string_view what) {
  if (value == -1) throw broken_scenario{std::string(what) + ": " + error_name(errno)};
  return value;
}

std::string error_name(int error) {
  const char* name = ::strerrorname_np(error);
  return name ? name : std::to_string(error);
}

}  // namespace differential
