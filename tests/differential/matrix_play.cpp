#include "matrix_play.hpp"

#include <unistd.h>

#include <algorithm>

namespace differential {

namespace {

using clock = std::chrono::steady_clock;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr auto moment_later = 1500ms;
#else
constexpr auto moment_later = 100ms;
#endif
// The kernel counts socket timeouts in jiffies, so they may come one jiffy (10 ms at most) early.
constexpr auto early = 10ms;

std::string_view class_of(clock::duration late, milliseconds time) {
  if (time.count() == 0) return late < moment_later ? "at once" : "late";
  return late < -early ? "before its time" : late < moment_later ? "in time" : "long after its time";
}

}  // namespace

outcome play(actor& me, const std::function<long()>& go, const end_of_wait& end) {
  clock::time_point begun, done;  // other's until it is joined
  const auto do_it = [&](actor& other, const std::function<void()>& deed) {
    other.until_waiting(me);
    begun = clock::now();
    deed();
    done = clock::now();
  };
  actor* const other = !end.help && !end.handler ? nullptr : &me.start("other", [&](actor& o) {
    if (end.handler) do_it(o, [&] { kill(getpid(), SIGUSR1), o.until([&] { return end.handler->count() > 0; }); });
    if (end.help && (!end.handler || end.restarts)) do_it(o, end.help);
  });
  const auto entered = clock::now();
  const outcome got = me.call("call", go);
  const auto left = clock::now();
  if (other) {
    me.join(*other);
    me.note(left > begun ? "call waited" : "call did not wait");
  }
  me.note("call came back", class_of(left - (end.time.count() ? entered + end.time : std::max(entered, done)), end.time));
  return got;
}

void cancel_and_look(actor& me, const std::function<long()>& go, const std::function<void()>& free) {
  actor& waiter = me.start("waiter", [&](actor& w) { w.call("call", go); }, ended::unwinds);
  me.until_waiting(waiter);
  const auto cancelled = clock::now();
  me.cancel(waiter);
  me.join(waiter);
  me.note("cancel was heard", class_of(clock::now() - cancelled, 0ms));
  if (free) free();
}

}  // namespace differential
