// What makes descriptors, changes and closes them.
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <memory>

#include "call/faulty_call.hpp"
#include "support/descriptors.hpp"

namespace unit {
namespace {

struct places {
  ends stream = socket_pair();
  fd spare{::dup(0)}, closing;
  int both[2] = {}, count = 0, large = 1 << 16;

  long pair(long answer) {
    if (answer == 0) {
      fd{both[0]};
      fd{both[1]};
    }
    return answer;
  }
};

}  // namespace

faulty_calls faulty_descriptors() {
  const auto p = std::make_shared<places>();
  const std::vector<int> make{EMFILE, ENFILE, ENOMEM, ENOBUFS};
  faulty_calls all;
  const auto add = [&](const char* name, long nr, const std::vector<int>& errors, std::function<long()> call) {
    all.push_back({name, nr, nr, errors, std::move(call)});
  };
  add("close", SYS_close, {EIO, EINTR}, [p] {
    if (p->closing < 0) p->closing = fd(::dup(0));
    const long answer = make_call(SYS_close, p->closing);
    if (answer == 0) p->closing.let_go();
    return answer;
  });
  add("close_range", SYS_close_range, {EMFILE, ENOMEM}, [] { return make_call(SYS_close_range, 900'000, 900'001, 0); });
  add("dup", SYS_dup, {EMFILE}, [p] { return closed(make_call(SYS_dup, p->stream.ours)); });
  add("dup2", SYS_dup2, {EBUSY, EMFILE, EINTR}, [p] { return make_call(SYS_dup2, p->stream.ours, p->spare); });
  add("dup3", SYS_dup3, {EBUSY, EMFILE, EINTR}, [p] { return make_call(SYS_dup3, p->stream.ours, p->spare, 0); });
  add("fcntl", SYS_fcntl, {EMFILE, ENOMEM}, [p] { return closed(make_call(SYS_fcntl, p->stream.ours, F_DUPFD, 0)); });
  add("ioctl", SYS_ioctl, {ENOMEM, EINTR}, [p] { return make_call(SYS_ioctl, p->stream.ours, FIONREAD, &p->count); });
  add("setsockopt", SYS_setsockopt, {ENOMEM, ENOBUFS},
      [p] { return make_call(SYS_setsockopt, p->stream.ours, SOL_SOCKET, SO_SNDBUF, &p->large, sizeof p->large); });
  add("shutdown", SYS_shutdown, {ENOTCONN, ENOMEM}, [p] { return make_call(SYS_shutdown, p->stream.theirs, SHUT_RD); });
  add("socket", SYS_socket, make, [] { return closed(make_call(SYS_socket, AF_UNIX, SOCK_STREAM, 0)); });
  add("socketpair", SYS_socketpair, make,
      [p] { return p->pair(make_call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, p->both)); });
  add("pipe", SYS_pipe, make, [p] { return p->pair(make_call(SYS_pipe, p->both)); });
  add("pipe2", SYS_pipe2, make, [p] { return p->pair(make_call(SYS_pipe2, p->both, O_CLOEXEC)); });
  return all;
}

}  // namespace unit
