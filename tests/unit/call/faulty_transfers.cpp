// Bytes and messages through one descriptor: sockets, pipes, an eventfd, a terminal.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <termios.h>

#include <memory>

#include "call/faulty_call.hpp"
#include "support/descriptors.hpp"

namespace unit {
namespace {

using bide::sys::raw;

constexpr char plenty[4096] = {};

struct places {
  ends stream = socket_pair(), messages = socket_pair(SOCK_DGRAM), pipe = pipe_ends();
  fd counter{make_call(SYS_eventfd2, 0, EFD_SEMAPHORE)}, sum{make_call(SYS_eventfd2, 0, 0)}, master{::posix_openpt(O_RDWR | O_NOCTTY)}, terminal;
  char buffer[8] = {};
  iovec two[2] = {{buffer, 4}, {buffer + 4, 4}};
  iovec one{buffer, 8};
  mmsghdr header{};
  std::uint64_t value = 1;

  places() {
    ::grantpt(master);
    ::unlockpt(master);
    terminal = fd(::open(::ptsname(master), O_RDWR | O_NOCTTY));
    termios plain;
    ::tcgetattr(terminal, &plain);
    ::cfmakeraw(&plain);
    ::tcsetattr(terminal, TCSANOW, &plain);
  }
  msghdr* message() {
    header.msg_hdr = {};
    header.msg_hdr.msg_iov = two;
    header.msg_hdr.msg_iovlen = 2;
    return &header.msg_hdr;
  }
  mmsghdr* list() { return message(), &header; }
  static void set(const fd& of, std::uint64_t to) {
    drain(of);
    if (to) raw(SYS_write, +of, &to, sizeof to);
  }
};

}  // namespace

faulty_calls faulty_transfers() {
  const auto p = std::make_shared<places>();
  const std::vector<int> receive{EINTR, ENOMEM, ECONNRESET, ETIMEDOUT}, send{EINTR, ENOMEM, ENOBUFS, ECONNRESET, EPIPE},
      device{EINTR, EIO, ENOMEM};
  faulty_calls all;
  const auto reads = [&](const char* name, long nr, long attempted, const std::vector<int>& errors, const ends& from,
                         std::function<long()> make) {
    all.push_back({name, nr, attempted, errors, std::move(make)});
    all.back().parks(-EAGAIN).between([&from] { drain(from.ours); },
                                      [&from] { raw(SYS_write, +from.theirs, plenty, 64); });
  };
  const auto writes = [&](const char* name, long nr, long attempted, const std::vector<int>& errors, const fd& to,
                          const fd& other, std::function<long()> make) {
    all.push_back({name, nr, attempted, errors, std::move(make)});
    all.back().parks(-EAGAIN).between([&to] { fill_up(to); }, [&other] { drain(other); });
  };
  const ends &stream = p->stream, &messages = p->messages, &pipe = p->pipe;

  reads("read", SYS_read, SYS_recvfrom, receive, stream, [p] { return make_call(SYS_read, p->stream.ours, p->buffer, 8); });
  reads("readv", SYS_readv, SYS_recvmsg, receive, stream, [p] { return make_call(SYS_readv, p->stream.ours, p->two, 2); });
  reads("recvfrom", SYS_recvfrom, SYS_recvfrom, receive, stream,
        [p] { return make_call(SYS_recvfrom, p->stream.ours, p->buffer, 8, 0, nullptr, nullptr); });
  reads("recvfrom, all of it", SYS_recvfrom, SYS_recvmsg, receive, stream,
        [p] { return make_call(SYS_recvfrom, p->stream.ours, p->buffer, 8, MSG_WAITALL, nullptr, nullptr); });
  reads("recvmsg", SYS_recvmsg, SYS_recvmsg, receive, stream,
        [p] { return make_call(SYS_recvmsg, p->stream.ours, p->message(), 0); });
  reads("recvmsg, all of it", SYS_recvmsg, SYS_recvmsg, receive, stream,
        [p] { return make_call(SYS_recvmsg, p->stream.ours, p->message(), MSG_WAITALL); });
  reads("recvmmsg", SYS_recvmmsg, SYS_recvmmsg, receive, messages,
        [p] { return make_call(SYS_recvmmsg, p->messages.ours, p->list(), 1, 0, nullptr); });
  all.back().feed = [p] {
    drain(p->messages.ours);
    for (int i = 0; i < 8; ++i) raw(SYS_write, +p->messages.theirs, plenty, 8);
  };
  reads("read of a pipe", SYS_read, SYS_preadv2, device, pipe, [p] { return make_call(SYS_read, p->pipe.ours, p->buffer, 8); });
  reads("preadv2 with flags", SYS_preadv2, SYS_preadv2, device, pipe,
        [p] { return make_call(SYS_preadv2, p->pipe.ours, p->two, 2, -1, -1, RWF_HIPRI); });

  writes("write", SYS_write, SYS_sendto, send, stream.ours, stream.theirs,
         [p] { return make_call(SYS_write, p->stream.ours, p->buffer, 8); });
  writes("writev", SYS_writev, SYS_sendmsg, send, stream.ours, stream.theirs,
         [p] { return make_call(SYS_writev, p->stream.ours, p->two, 2); });
  writes("sendto", SYS_sendto, SYS_sendto, send, stream.ours, stream.theirs,
         [p] { return make_call(SYS_sendto, p->stream.ours, p->buffer, 8, 0, nullptr, 0); });
  writes("sendmsg", SYS_sendmsg, SYS_sendmsg, send, stream.ours, stream.theirs,
         [p] { return make_call(SYS_sendmsg, p->stream.ours, p->message(), 0); });
  writes("sendmmsg", SYS_sendmmsg, SYS_sendmmsg, {ENOMEM, ENOBUFS}, messages.ours, messages.theirs,
         [p] { return make_call(SYS_sendmmsg, p->messages.ours, p->list(), 1, 0); });
  writes("write to a pipe", SYS_write, SYS_pwritev2, {EINTR, EPIPE, ENOMEM}, pipe.theirs, pipe.ours,
         [p] { return make_call(SYS_write, p->pipe.theirs, p->buffer, 8); });
  writes("pwritev2 with flags", SYS_pwritev2, SYS_pwritev2, {EINTR, EPIPE, ENOMEM}, pipe.theirs, pipe.ours,
         [p] { return make_call(SYS_pwritev2, p->pipe.theirs, p->two, 2, -1, -1, RWF_HIPRI); });

  all.push_back({"read of an eventfd", SYS_read, SYS_preadv2, device,
                 [p] { return make_call(SYS_read, p->counter, p->buffer, 8); }});
  all.back().parks(-EAGAIN).between([p] { p->set(p->counter, 0); }, [p] { p->set(p->counter, 64); });
  // From a poll's promise to the call itself nobody else may be quicker: lib/call/transfer.cpp.
  all.push_back({"write to an eventfd", SYS_write, SYS_writev, device,
                 [p] { return make_call(SYS_write, p->sum, &p->value, 8); }});
  all.back().parks_alone(-EAGAIN).between([p] { p->set(p->sum, UINT64_MAX - 1); }, [p] { p->set(p->sum, 0); });
  all.push_back({"read of a terminal", SYS_read, SYS_readv, device,
                 [p] { return make_call(SYS_read, p->terminal, p->buffer, 8); }});
  all.back().parks_alone(-EAGAIN).between([p] { drain(p->terminal); }, [p] { raw(SYS_write, +p->master, plenty, 64); });
  all.push_back({"write to a terminal", SYS_write, SYS_writev, {EIO, ENOMEM},
                 [p] { return make_call(SYS_write, p->terminal, p->buffer, 8); }});
  all.back().parks_alone(-EAGAIN).between([p] { fill_up(p->terminal); }, [p] { drain(p->master); });
  return all;
}

}  // namespace unit
