// From one descriptor to another.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include <memory>

#include "call/faulty_call.hpp"
#include "support/descriptors.hpp"

namespace unit {
namespace {

using bide::sys::raw;

constexpr char plenty[4096] = {};

struct places {
  ends from = pipe_ends(), to = pipe_ends(), stream = socket_pair();
  char path[32] = "/tmp/bide-faults.XXXXXX";
  fd file{::mkstemp(path)}, sink{::open("/dev/null", O_WRONLY)};
  char buffer[8] = {};
  iovec two[2] = {{buffer, 4}, {buffer + 4, 4}};

  places() {
    ::unlink(path);
    raw(SYS_write, +file, plenty, sizeof plenty);
  }
  void empty() {
    for (const fd* each : {&from.ours, &to.ours, &stream.ours, &stream.theirs}) drain(*each);
  }
  // Whatever side a call takes from.
  void fill() {
    empty();
    raw(SYS_write, +from.theirs, plenty, 64);
    raw(SYS_write, +stream.theirs, plenty, 64);
    raw(SYS_lseek, +file, 0, SEEK_SET);
  }
  // Whatever side a call gives to.
  void stuff() {
    fill();
    fill_up(to.theirs);
    fill_up(stream.ours);
  }
};

}  // namespace

faulty_calls faulty_splices() {
  const auto p = std::make_shared<places>();
  const std::vector<int> usual{ENOMEM, EINTR}, to_socket{EINTR, ENOMEM, ENOBUFS, ECONNRESET, EPIPE}, disk{EIO, ENOMEM, EINTR};
  faulty_calls all;
  const auto add = [&](const char* name, long nr, long attempted, const std::vector<int>& errors,
                       std::function<long()> make) -> faulty_call& {
    all.push_back({name, nr, attempted, errors, std::move(make)});
    return all.back().between([p] { p->empty(); }, [p] { p->fill(); });
  };
  const auto full = [&](faulty_call& c) { c.between([p] { p->stuff(); }, [p] { p->fill(); }); };

  add("splice from a pipe", SYS_splice, SYS_splice, usual,
      [p] { return make_call(SYS_splice, p->from.ours, nullptr, p->to.theirs, nullptr, 8, 0); }).parks(-EAGAIN);
  full(add("splice to a pipe", SYS_splice, SYS_splice, usual,
           [p] { return make_call(SYS_splice, p->from.ours, nullptr, p->to.theirs, nullptr, 8, 0); }).parks(-EAGAIN));
  add("splice from a socket", SYS_splice, SYS_splice, {ENOMEM, EINTR, ECONNRESET},
      [p] { return make_call(SYS_splice, p->stream.ours, nullptr, p->to.theirs, nullptr, 8, 0); }).parks(-EAGAIN);
  // Made on another kernel thread once there is room: who takes that has the kernel wait there.
  full(add("splice to a socket", SYS_splice, SYS_splice, {ENOMEM, ENOBUFS, EPIPE},
           [p] { return make_call(SYS_splice, p->from.ours, nullptr, p->stream.ours, nullptr, 8, 0); }).parks_alone(-EAGAIN));
  add("tee from a pipe", SYS_tee, SYS_tee, usual,
      [p] { return make_call(SYS_tee, p->from.ours, p->to.theirs, 8, 0); }).parks(-EAGAIN);
  full(add("tee to a pipe", SYS_tee, SYS_tee, usual,
           [p] { return make_call(SYS_tee, p->from.ours, p->to.theirs, 8, 0); }).parks(-EAGAIN));
  add("vmsplice from a pipe", SYS_vmsplice, SYS_vmsplice, usual,
      [p] { return make_call(SYS_vmsplice, p->from.ours, p->two, 2, 0); }).parks(-EAGAIN);
  full(add("vmsplice to a pipe", SYS_vmsplice, SYS_vmsplice, usual,
           [p] { return make_call(SYS_vmsplice, p->to.theirs, p->two, 2, 0); }).parks(-EAGAIN));
  full(add("sendfile to a socket", SYS_sendfile, SYS_sendto, to_socket,
           [p] { return make_call(SYS_sendfile, p->stream.ours, p->file, nullptr, 8); }).parks(-EAGAIN));
  full(add("sendfile to a pipe", SYS_sendfile, SYS_splice, usual,
           [p] { return make_call(SYS_sendfile, p->to.theirs, p->file, nullptr, 8); }).parks(-EAGAIN));
  // What it reads before it sends.
  add("sendfile's reads", SYS_sendfile, SYS_pread64, disk,
      [p] { return make_call(SYS_sendfile, p->stream.ours, p->file, nullptr, 8); }).starve = nullptr;
  add("sendfile to a device", SYS_sendfile, SYS_sendfile, disk,
      [p] { return make_call(SYS_sendfile, p->sink, p->file, nullptr, 8); }).starve = nullptr;
  return all;
}

}  // namespace unit
