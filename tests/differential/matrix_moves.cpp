// The matrix's calls that move bytes between two descriptors.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "matrix_kinds.hpp"
#include "matrix_scenes.hpp"

namespace differential {

namespace {

const descriptor& kind_named(std::string_view name) {
  for (const descriptor& d : descriptors())
    if (d.name == name) return d;
  throw broken_scenario{"no such kind"};
}

long unread(int end) {
  int left = -1;
  ioctl(end, FIONREAD, &left);
  return left;
}

using mover = std::function<long(int from, loff_t* at, int to, std::size_t, unsigned flags)>;

// Between two pipes, of which the first is empty: from its reader to the other's writer.
scene moving(const mover& move, bool leaves) {
  const auto from = std::make_shared<ends>(pipe_pair());
  const auto to = std::make_shared<channel>(pipe_pair(), 0u, std::vector<std::string>(), false);
  scene s;
  s.go = [=] { return move(from->ours, nullptr, to->theirs, 64, 0); };
  s.at_once = [=] { return move(from->ours, nullptr, to->theirs, 64, SPLICE_F_NONBLOCK); };
  s.go_empty = [=] { return move(from->ours, nullptr, to->theirs, 0, 0); };
  s.go_nowhere = [=] { return move(-1, nullptr, to->theirs, 64, 0); };
  if (!leaves) s.go_wrong = [=] { return move(from->ours, static_cast<loff_t*>(bad_address()), to->theirs, 64, 0); };
  s.free = [=] { must(write(from->theirs, "hello", 5), "write"); };
  s.close = [=] { from->ours.close(); };
  s.shut = [=] { from->theirs.close(); };
  s.rest = [=] {
    take(to->ours, *to);
    return std::to_string(unread(from->ours)) + " left, " + delivered(kind_named("pipe"), *to);
  };
  const std::string moved = digest("hello"), nothing = digest("");
  s.meant_if_closed = {{"first: call -> 5", "first: call -> -1 EBADF"},
                       {"first: rest = -1 left, " + moved, "first: rest = -1 left, " + nothing}};
  return s;
}

using pourer = std::function<long(int to, const char* bytes, std::size_t, bool waits)>;

// Into a pipe or socket that is full.
scene pouring(const std::string& kind, const pourer& pour) {
  const descriptor& d = kind_named(kind);
  const auto e = std::make_shared<channel>(d.make(), 0u, std::vector<std::string>(), false);
  e->filled = fill(e->theirs);
  static char bytes[] = "hello";
  scene s;
  s.go = [=] { return pour(e->theirs, bytes, 5, true); };
  s.at_once = [=] { return pour(e->theirs, bytes, 5, false); };
  s.go_empty = [=] { return take(e->ours, *e), pour(e->theirs, bytes, 0, true); };
  s.go_nowhere = [=] { return pour(-1, bytes, 5, true); };
  s.go_wrong = [=] { return take(e->ours, *e), pour(e->theirs, static_cast<char*>(bad_address()), 5, true); };
  s.free = [=] { take(e->ours, *e); };
  s.close = [=] { e->theirs.close(); };
  s.shut = [=, is_socket = d.is(socket_kind)] {
    if (is_socket) shutdown(e->theirs, SHUT_WR);
    else e->ours.close();
  };
  s.rest = [=, &d] {
    if (e->ours < 0) return std::string("nobody reads");
    take(e->ours, *e);
    return delivered(d, *e);
  };
  s.meant_if_closed = {{"first: call -> 5", "first: call -> -1 EBADF"},
                       {"first: rest = " + digest("hello"), "first: rest = " + digest("")}};
  return s;
}

scene sending_file(const std::string& kind) {
  const auto file = shared(regular_file("hello"));
  // Of a file, a bad pointer is where the offset would be.
  return pouring(kind, [file](int to, const char* bytes, std::size_t n, bool waits) -> long {
    if (!waits) set_nonblocking(to);
    off_t at = 0;
    const bool is_bad = bytes == bad_address();
    const long sent = sendfile(to, *file, is_bad ? static_cast<off_t*>(bad_address()) : &at, n);
    return sent > 0 && at != sent ? 1000 + at : sent;
  });
}

const waiting moves[] = {
    {"splice", "pipe", true, [](milliseconds) {
       return moving([](int from, loff_t* at, int to, std::size_t n, unsigned flags) {
         return splice(from, at, to, nullptr, n, flags);
       }, false);
     }},
    {"tee", "pipe", true, [](milliseconds) {
       return moving([](int from, loff_t*, int to, std::size_t n, unsigned flags) -> long {
         return tee(from, to, n, flags);
       }, true);
     }},
    {"vmsplice", "pipe", true, [](milliseconds) {
       return pouring("pipe", [](int to, const char* bytes, std::size_t n, bool waits) {
         const iovec part{const_cast<char*>(bytes), n};
         return vmsplice(to, &part, 1, waits ? 0 : SPLICE_F_NONBLOCK);
       });
     }},
    {"sendfile", "pipe", false, [](milliseconds) { return sending_file("pipe"); }},
    {"sendfile", "unix stream", false, [](milliseconds) { return sending_file("unix stream"); }},
};

}  // namespace

void add_moves(std::vector<cell>& to) { add_scenes(to, moves); }

}  // namespace differential
