// Actors: what a scenario is told with. The same lines run on kernel threads with the doors shut and in fibers with the
// doors open; what the actors note is compared.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <bide/task.hpp>

namespace differential {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

class actor;
using script = std::function<void(actor&)>;

enum class means { threads, fibers };
// What a cancel does to the call it ends in a fiber; a thread's unwinds in any case.
enum class ended { fails, unwinds };

// What one actor noted, in memory shared with the process that compares: it outlives a crash and a hang.
struct notebook {
  static constexpr std::size_t room = 15'000;
  char name[24];
  char inside[104];  // the call it is in, or ""
  std::uint32_t used;
  char text[room];
};

// All that one run of a scenario leaves behind.
struct transcript {
  static constexpr unsigned most = 8;
  std::atomic<unsigned> actors;
  notebook books[most];
};

// What a call left: its value, and errno if it failed.
struct outcome {
  long value = 0;
  int error = 0;
  operator long() const { return value; }
};

class actor {
 public:
  actor(means how, transcript& into, std::string_view name);
  ~actor();
  actor(const actor&) = delete;
  actor& operator=(const actor&) = delete;

  // Adds a line to what is compared.
  void note(std::string_view line);
  void note(std::string_view what, std::string_view value);
  template <class T>
    requires std::is_integral_v<T>
  void note(std::string_view what, T value) {
    note(what, std::to_string(value));
  }

  // Makes a call and notes its value and errno, also an errno that changed on success.
  template <class F>
  outcome call(std::string_view what, F f) {
    enter(what);
    errno = untouched;
    long value = 0;
    try {
      value = static_cast<long>(f());
    } catch (...) {  // a cancel
      note(std::string(what) + " is cancelled");
      leave();
      throw;
    }
    const int error = errno;
    leave();
    return conclude(what, value, error);
  }

  // As call; notes too whether it took `asked`, less, or much more.
  template <class F>
  outcome call_for(milliseconds asked, std::string_view what, F f) {
    const auto before = std::chrono::steady_clock::now();
    const outcome got = call(what, std::move(f));
    note_time(what, asked, std::chrono::steady_clock::now() - before);
    return got;
  }

  // Starts another actor: a thread or a fiber as this one is. It is joined with this one's end at the latest.
  actor& start(std::string_view name, script what, ended = ended::fails);

  // Cancels an actor started by this one.
  void cancel(actor& other);

  // Waits for an actor started by this one.
  void join(actor& other);

  // Waits until `other` waits in a call of its script, or will make none any more before this one ends.
  void until_waiting(actor& other);
  // Waits until a condition of the scenario's own holds.
  void until(const std::function<bool()>& condition);

  means how() const { return how_; }

 private:
  static constexpr int untouched = 119;

  void enter(std::string_view what);
  void leave();
  outcome conclude(std::string_view what, long value, int error);
  void note_time(std::string_view what, milliseconds asked, std::chrono::nanoseconds taken);
  void perform(const script& what);
  bool asleep_inside(unsigned call) const;

  const means how_;
  transcript& into_;
  notebook& book_;
  std::vector<std::unique_ptr<actor>> started_;
  std::thread thread_;
  bide::task<void> task_;
  bool joined_ = false;
  std::atomic<bool> idle_{false};   // its script is over, or waits for another actor's to be
  std::atomic<unsigned> calls_{0};  // odd while inside one
  std::atomic<int> thread_id_{0};   // the kernel thread that is, or last was, inside one
};

// Lets others run for a moment.
void moment(milliseconds length = 1ms);

// Thrown when a scenario cannot be set up; fails the comparison.
struct broken_scenario {
  std::string why;
};

// Returns `value`, or throws broken_scenario with errno's name if it is -1.
long must(long value, std::string_view what);

std::string error_name(int error);

}  // namespace differential
