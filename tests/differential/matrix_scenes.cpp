#include "matrix_scenes.hpp"

#include "matrix_play.hpp"

namespace differential {

namespace {

// What is noted of a scene: the call, and what it leaves.
void show(actor& me, const scene& s, const std::function<long()>& go, const end_of_wait& end) {
  const counting_handler no_pipe(SIGPIPE, 0);
  play(me, go, end);
  me.note("SIGPIPE", no_pipe.count());
  if (s.rest) me.note("rest", s.rest());
}

// A thread goes on waiting on what is closed, and is helped.
void show_closed(actor& me, const scene& s) {
  std::atomic<bool> is_over = false;
  const auto go = [&] {
    const long made = s.go();
    is_over = true;
    return made;
  };
  show(me, s, go, {.help = [&] {
    s.close();
    moment(20ms);
    if (!is_over) s.free();
  }});
}

}  // namespace

timespec to_timespec(milliseconds length) { return {length.count() / 1000, length.count() % 1000 * 1'000'000}; }

timespec from_now(clockid_t clock, milliseconds length) {
  timespec at{};
  clock_gettime(clock, &at);
  const long ns = at.tv_nsec + length.count() % 1000 * 1'000'000;
  return {at.tv_sec + length.count() / 1000 + ns / 1'000'000'000, ns % 1'000'000'000};
}

std::shared_ptr<fd> shared(fd one) { return std::make_shared<fd>(std::move(one)); }

void add_scenes(std::vector<cell>& to, std::span<const waiting> all) {
  for (const waiting& w : all) {
    const auto add = [&](std::string condition, script tell, std::vector<meant_line> meant = {}) {
      to.push_back({w.call, std::move(condition), w.kind, std::move(tell), std::move(meant)});
    };
    // In a form of its own, of which nothing is waited for.
    const auto add_form = [&](std::string condition, std::function<long()> scene::*go, milliseconds time = 0ms) {
      add(std::move(condition), [&w, go, time](actor& me) {
        const scene s = w.set(limit);
        show(me, s, s.*go, {.time = time});
      });
    };
    const scene probe = w.set(limit);
    if (probe.free) add("there", [&w](actor& me) {
      const scene s = w.set(limit);
      s.free();
      show(me, s, s.go, {});
    });
    if (probe.free || probe.takes.count()) add("waits", [&w](actor& me) {
      const scene s = w.set(limit);
      show(me, s, s.go, {.help = s.free, .time = s.free ? 0ms : s.takes});
    });
    if (probe.at_once) add_form("O_NONBLOCK", &scene::at_once);
    if (probe.in_time) add_form("timeout", &scene::in_time, limit);
    if (probe.go_wrong) add_form("bad pointer", &scene::go_wrong);
    if (probe.go_nowhere) add_form("bad fd", &scene::go_nowhere);
    if (probe.go_empty) add_form("zero length", &scene::go_empty);
    if (probe.close) add("closed by another", [&w](actor& me) { show_closed(me, w.set(limit)); }, probe.meant_if_closed);
    if (probe.shut) add("shut down", [&w](actor& me) {
      const scene s = w.set(limit);
      s.shut();
      show(me, s, s.go, {});
    });
    if (probe.shut) add("shut down by another", [&w](actor& me) {
      const scene s = w.set(limit);
      show(me, s, s.go, {.help = s.shut});
    });
    for (const int flags : {0, SA_RESTART}) add(flags ? "signal, SA_RESTART" : "signal", [&w, flags](actor& me) {
      const scene s = w.set(long_enough);
      const counting_handler handler(SIGUSR1, flags);
      show(me, s, s.go, {.help = s.free, .handler = &handler, .restarts = flags != 0});
    });
    if (w.is_cancelled) add("cancelled", [&w](actor& me) {
      const scene s = w.set(long_enough);
      cancel_and_look(me, s.go, s.free);
      if (s.rest) me.note("rest", s.rest());
    });
  }
}

}  // namespace differential
