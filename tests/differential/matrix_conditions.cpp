#include "matrix_conditions.hpp"

#include <poll.h>
#include <sys/ioctl.h>

#include "matrix_play.hpp"

namespace differential {

namespace {

void close_with_reset(channel& e) {
  const linger at_once{1, 0};
  setsockopt(e.theirs, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  e.theirs.close();
}
const auto say = [](const descriptor& d, channel& e) { d.say(e); };
// The same, and it is there: a pty passes bytes on by itself, on a busy machine a while later.
const auto has_said = [](const descriptor& d, channel& e) {
  d.say(e);
  pollfd there{e.ours, POLLIN, 0};
  if (std::string_view(d.name) == "pty") must(poll(&there, 1, 1000), "poll");
};
// Another closes what the call waits on: a thread goes on waiting and is helped, a fiber is told.
void close_and_help(channel& e, const std::function<void()>& help) {
  e.ours.close();
  moment(20ms);
  if (!e.is_over) help();
}

// So that nothing more goes in. In TCP what is acknowledged late makes room once more.
void fill_up(const descriptor& d, channel& e) {
  for (std::size_t more; (more = fill(e.ours)) != 0; moment(50ms)) {
    e.filled += more;
    if (!d.is(tcp)) return;
  }
}

// Nearly full: of TCP it isn't determined how much fits then.
void leave_room(const descriptor& d, channel& e) {
  fill_up(d, e);
  e.taken.push_back(read_all(e.theirs, 8192));
}
void leave_room_without_waiting(const descriptor& d, channel& e) {
  leave_room(d, e);
  set_nonblocking(e.ours);
}

// What another sees of both ends afterwards.
void note_rest(actor& me, const ends& e) {
  int left[] = {-1, -1};
  pollfd both[] = {{e.ours, POLLIN, 0}, {e.theirs, POLLIN, 0}};
  poll(both, 2, 0);
  const char* const names[] = {"ours", "theirs"};
  for (int i = 0; i < 2; ++i) {
    if (both[i].fd >= 0) ioctl(both[i].fd, FIONREAD, &left[i]);
    me.note(names[i], std::to_string(left[i]) + " bytes to be read, poll " + poll_bits(both[i].revents));
  }
}

}  // namespace

std::vector<condition> reading() {
  using d = const descriptor&;
  const auto leave = [](d, channel& e) { e.theirs.close(); };
  return {
      {.name = "there", .before = has_said},
      {.name = "waits", .meanwhile = say},
      {.name = "O_NONBLOCK", .before = [](d, channel& e) { set_nonblocking(e.ours); }},
      {.name = "MSG_DONTWAIT", .takes_flags = true, .flags = MSG_DONTWAIT},
      {.name = "MSG_PEEK", .takes_flags = true, .flags = MSG_PEEK, .meanwhile = say},
      {.name = "MSG_WAITALL", .takes_flags = true, .flags = MSG_WAITALL,
       .meanwhile = [](d k, channel& e) { k.say(e), moment(), k.say(e); }},
      {.name = "SO_RCVTIMEO", .needs = socket_kind, .before = [](d, channel& e) { set_timeout(e.ours, SO_RCVTIMEO, 60ms); },
       .time = 60ms},
      {.name = "zero length", .before = has_said, .size = 0},
      {.name = "bad pointer", .before = has_said, .room = static_cast<char*>(bad_address())},
      {.name = "bad pointer, waits", .meanwhile = say, .room = static_cast<char*>(bad_address())},
      {.name = "bad fd", .fd = -1},
      {.name = "wrong end", .needs = two_ends, .before = [](d, channel& e) { std::swap(e.ours, e.theirs), set_nonblocking(e.ours); }},
      {.name = "more asked than there", .before = has_said, .size = 64},
      {.name = "less asked than there", .before = has_said, .size = 2},
      {.name = "closed by another", .needs = two_ends,
       .meanwhile = [](d k, channel& e) { close_and_help(e, [&] { k.say(e); }); }},
      {.name = "peer gone", .needs = stream | two_ends, .before = leave},
      {.name = "peer goes", .needs = stream | two_ends, .meanwhile = leave},
      {.name = "peer shuts down", .needs = socket_kind | stream, .meanwhile = [](d, channel& e) { shutdown(e.theirs, SHUT_WR); }},
      {.name = "shut down by another", .needs = socket_kind | stream, .meanwhile = [](d, channel& e) { shutdown(e.ours, SHUT_RD); }},
      {.name = "reset", .needs = tcp, .meanwhile = [](d, channel& e) { close_with_reset(e); }},
      {.name = "was reset", .needs = tcp, .before = [](d, channel& e) { close_with_reset(e), moment(20ms); }},
      {.name = "signal", .meanwhile = say, .signal_flags = 0},
      {.name = "cancelled", .meanwhile = say, .cancels = true},
      {.name = "signal, SA_RESTART", .meanwhile = say, .signal_flags = SA_RESTART},
  };
}

std::vector<condition> writing() {
  using d = const descriptor&;
  const auto drain = [](d, channel& e) { take(e.theirs, e); };
  const auto leave = [](d, channel& e) { e.theirs.close(); };
  return {
      {.name = "room"},
      {.name = "waits", .needs = fills, .before = fill_up, .meanwhile = drain},
      {.name = "O_NONBLOCK", .needs = fills, .before = [](d k, channel& e) { fill_up(k, e), set_nonblocking(e.ours); }},
      {.name = "MSG_DONTWAIT", .needs = fills, .takes_flags = true, .flags = MSG_DONTWAIT, .before = fill_up},
      {.name = "SO_SNDTIMEO", .needs = fills | socket_kind,
       .before = [](d k, channel& e) { fill_up(k, e), set_timeout(e.ours, SO_SNDTIMEO, 60ms); }, .time = 60ms},
      {.name = "zero length", .size = 0},
      {.name = "bad pointer", .room = static_cast<char*>(bad_address())},
      {.name = "bad fd", .fd = -1},
      {.name = "more than fits", .needs = fills | stream, .meanwhile = [](d, channel& e) { e.taken.push_back(read_all(e.theirs, 3'000'000)); },
       .size = 3'000'000},
      {.name = "closed by another", .needs = fills | stream, .before = fill_up,
       .meanwhile = [](d, channel& e) { close_and_help(e, [&] { take(e.theirs, e); }); }},
      {.name = "peer gone", .needs = two_ends | fills, .before = leave},
      {.name = "peer goes", .needs = two_ends | fills, .before = fill_up, .meanwhile = leave},
      {.name = "shut down", .needs = socket_kind | stream, .before = [](d, channel& e) { shutdown(e.ours, SHUT_WR); }},
      {.name = "shut down by another", .needs = socket_kind | stream, .before = fill_up,
       .meanwhile = [](d, channel& e) { shutdown(e.ours, SHUT_WR); }},
      {.name = "reset", .needs = tcp, .before = fill_up, .meanwhile = [](d, channel& e) { close_with_reset(e); }},
      {.name = "was reset", .needs = tcp, .before = [](d, channel& e) { close_with_reset(e), moment(20ms); }},
      {.name = "a part fits, O_NONBLOCK", .needs = fills | stream, .lacks = tcp, .before = leave_room_without_waiting, .size = 500'000},
      {.name = "a part fits, MSG_DONTWAIT", .needs = fills | stream, .lacks = tcp, .takes_flags = true, .flags = MSG_DONTWAIT,
       .before = leave_room, .size = 500'000},
      {.name = "signal", .needs = fills, .before = fill_up, .meanwhile = drain, .signal_flags = 0},
      {.name = "signal, SA_RESTART", .needs = fills, .before = fill_up, .meanwhile = drain, .signal_flags = SA_RESTART},
      {.name = "cancelled", .needs = fills, .before = fill_up, .meanwhile = drain, .cancels = true},
  };
}

void tell(actor& me, const descriptor& d, const condition& c, bool writes, const std::function<long(int fd)>& go) {
  const counting_handler no_pipe(SIGPIPE, 0);
  channel e{d.make(), 0, {}, false};
  if (writes) std::swap(e.ours, e.theirs);  // `ours` is what writes
  if (c.before) c.before(d, e);
  long n = 0;
  if (c.cancels) {
    cancel_and_look(me, [&] { return go(e.ours); },
                    [&] { c.meanwhile(d, e), moment(10ms); });  // a pty passes bytes on by itself
  } else {
    std::unique_ptr<counting_handler> handler;
    if (c.signal_flags >= 0) handler = std::make_unique<counting_handler>(SIGUSR1, c.signal_flags);
    const int number = c.fd == -2 ? static_cast<int>(e.ours) : c.fd;
    end_of_wait end{.handler = handler.get(), .restarts = c.signal_flags == SA_RESTART, .time = c.time};
    if (c.meanwhile) end.help = [&] { c.meanwhile(d, e); };
    n = play(me, [&] {
      const long made = go(number);
      e.is_over = true;
      return made;
    }, end);
    me.note("SIGPIPE", no_pipe.count());
  }
  const int from = writes ? e.theirs : e.ours;
  const bool is_fresh = writes && !e.filled && !c.meanwhile && from >= 0;
  pollfd there{from, POLLIN, 0};
  if (is_fresh && n > 0) poll(&there, 1, 1000);
  if (!writes || is_fresh) note_rest(me, e);
  if (from >= 0) {
    take_rest(from, e, writes ? e.filled + static_cast<std::size_t>(std::max(n, 0L)) : 0);
    me.note("taken", delivered(d, e));
  }
  if (writes) note_rest(me, e);  // how much of it a drain met that ran beside it is chance
}

}  // namespace differential
