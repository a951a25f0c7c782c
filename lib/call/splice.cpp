// From one descriptor to another: splice, tee, vmsplice, sendfile.
//
// SPLICE_F_NONBLOCK is of a call, not of a description, so pipes are tried with it. It says nothing of the other side,
// which is waited for by poll before; where poll doesn't promise that a call goes through, the call itself is made on
// another kernel thread, with the long wait behind it.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "lib/base/arena.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/partial.hpp"

namespace bide::call {
namespace {

using io::fd_kind;

long flags_of(int fd) noexcept {
  const long flags = sys::raw(SYS_fcntl, fd, F_GETFL);
  return flags < 0 ? 0 : flags;
}

bool nonblocking(int fd) noexcept { return flags_of(fd) & O_NONBLOCK; }

// Waits for whichever of two pipes kept a call from going on. Returns as await_ready().
long await_pipes(int in, int out, const char* name) noexcept {
  if (in >= 0 && !poll_now(in, POLLIN)) return await_ready(in, readiness::readable, name);
  if (out >= 0 && !poll_now(out, POLLOUT)) return await_ready(out, readiness::writable, name);
  return 0;
}

bool waits(fd_kind k) noexcept { return k != fd_kind::file && k != fd_kind::unknown; }

// One side of a splice(2).
struct side {
  side(long number, long offset_at) noexcept : fd(static_cast<int>(number)), kind(classify(fd)), flags(flags_of(fd)), offset(offset_at) {}
  bool pipe() const noexcept { return kind == fd_kind::fifo; }
  bool quiet() const noexcept { return flags & O_NONBLOCK; }
  // Other than a pipe, and waited for.
  bool slow() const noexcept { return !pipe() && waits(kind) && !quiet(); }
  // For its wrong end, or for a position where there are none.
  bool refused(long wrong_end) const noexcept {
    return (flags & O_ACCMODE) == wrong_end || (offset && sys::failed(sys::raw(SYS_lseek, fd, 0, SEEK_CUR)));
  }

  const int fd;
  const fd_kind kind;
  const long flags, offset;
};

constexpr long all_flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;

}  // namespace

long splice_call(long in, long in_at, long out, long out_at, long size, long flags) {
  const side from(in, in_at), to(out, out_at);
  // Refused before it waits for anything; and the kernel has no form of it that moves nothing and says so.
  const bool refused = (flags & ~all_flags) || from.refused(O_WRONLY) || to.refused(O_RDONLY) || (!from.pipe() && !to.pipe());
  if (!size || refused) return attempt(SYS_splice, in, in_at, out, out_at, size, flags);
  // splice(2), "Notes": the pipe's own O_NONBLOCK counts as the flag, and of two pipes either's.
  const bool may_wait = !(flags & SPLICE_F_NONBLOCK) && !(from.pipe() && from.quiet()) && !(to.pipe() && to.quiet());
  const auto once = [&](auto make) { return make(SYS_splice, in, in_at, out, out_at, size, flags | SPLICE_F_NONBLOCK); };
  for (;;) {
    long now, end = 0;
    if (from.slow() && !poll_now(from.fd, POLLIN)) {
      end = await_ready(from.fd, readiness::readable, "splice");
    } else if (to.slow() && (poll_now(from.fd, POLLIN) & POLLIN) && !poll_now(to.fd, POLLOUT)) {
      end = await_ready(to.fd, readiness::writable, "splice");
    } else {
      const bool with_data = to.slow() && (poll_now(from.fd, POLLIN) & POLLIN);
      now = with_data ? once([&](auto... a) { return offloaded("splice", to.fd, restarts::yes, sys::word(a)...); })
                      : once([](auto... a) { return attempt(a...); });
      if (now != -EAGAIN || !may_wait) return now;
      end = await_pipes(from.pipe() ? from.fd : -1, to.pipe() ? to.fd : -1, "splice");
    }
    if (end) return end;
  }
}

long tee_call(long in, long out, long size, long flags, long, long) {
  const int from = static_cast<int>(in), to = static_cast<int>(out);
  for (;;) {
    const long now = attempt(SYS_tee, in, out, size, flags | SPLICE_F_NONBLOCK);
    if (now != -EAGAIN || (flags & SPLICE_F_NONBLOCK) || nonblocking(from) || nonblocking(to)) return now;
    if (const long end = await_pipes(from, to, "tee")) return end;
  }
}

long vmsplice_call(long pipe, long vector, long count, long flags, long, long) {
  const int fd = static_cast<int>(pipe);
  const bool reads = (sys::raw(SYS_fcntl, fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
  for (;;) {
    const long now = attempt(SYS_vmsplice, pipe, vector, count, flags | SPLICE_F_NONBLOCK);
    if (now != -EAGAIN || (flags & SPLICE_F_NONBLOCK)) return now;  // this one heeds no O_NONBLOCK
    if (const long end = await_pipes(reads ? fd : -1, reads ? -1 : fd, "vmsplice")) return end;
  }
}

namespace {

// Where sendfile reads: at the caller's offset, or at the file's own.
class source_file {
 public:
  source_file(int fd, long offset_at) noexcept : fd_(fd), offset_at_(offset_at) {}
  long open() noexcept {
    if (!offset_at_) {
      at_ = sys::raw(SYS_lseek, fd_, 0, SEEK_CUR);
      return sys::failed(at_) ? at_ : 0;
    }
    return copy_in(&at_, reinterpret_cast<void*>(offset_at_), sizeof at_);
  }
  long read(char* to, std::size_t size) noexcept {
    return disk_call(SYS_pread64, fd_, sys::word(to), static_cast<long>(size), at_);
  }
  void advance(long n) noexcept { at_ += n; }
  long close() noexcept {
    if (offset_at_) return copy_out(reinterpret_cast<void*>(offset_at_), &at_, sizeof at_);
    sys::raw(SYS_lseek, fd_, at_, SEEK_SET);
    return 0;
  }

 private:
  const int fd_;
  const long offset_at_;
  long at_ = 0;
};

// To a socket that may make its sender wait: sendfile(2) itself has no form that doesn't, so the bytes go by way of
// memory here, and the fiber waits for room as a send does.
long send_to_socket(fd_call& c, int in, long offset, std::size_t size) noexcept {
  constexpr std::size_t piece = 64 * 1024;
  source_file file(in, offset);
  if (const long error = file.open()) return error;
  const base::room<char> memory(std::min(size, piece));
  char* const buffer = memory.get();
  if (!buffer) return -ENOMEM;
  std::size_t sent = 0;
  long end = 0;
  while (sent < size && !end) {
    const long n = file.read(buffer, std::min(size - sent, piece));
    if (n <= 0) {
      end = n;
      break;
    }
    const iovec v{buffer, static_cast<std::size_t>(n)};
    partial rest(&v, 1);
    const long more = sent + static_cast<std::size_t>(n) < size ? MSG_MORE : 0;
    const long done = write_all(c, rest, [&](const iovec* now, long) {
      const long how = MSG_DONTWAIT | more | (c.quiet() ? MSG_NOSIGNAL : 0);
      return attempt(SYS_sendto, c.fd(), now->iov_base, now->iov_len, how, nullptr, 0);
    });
    if (done < 0) {
      end = done;
      break;
    }
    sent += static_cast<std::size_t>(done);
    file.advance(done);
    if (done < n) break;
  }
  const long error = file.close();
  return sent && error ? error : as_far(static_cast<long>(sent), end);
}

// To a pipe it is a splice.
long send_to_pipe(long out, long in, long offset, long size) noexcept {
  for (;;) {
    const long now = attempt(SYS_splice, in, offset, out, nullptr, size, SPLICE_F_NONBLOCK);
    if (now != -EAGAIN) return now;
    if (const long end = await_pipes(-1, static_cast<int>(out), "sendfile")) return end;
  }
}

}  // namespace

long sendfile_call(long out, long in, long offset, long size, long, long) {
  const int to = static_cast<int>(out), from = static_cast<int>(in);
  fd_call c(to, readiness::writable, "sendfile");
  if (c.settings().nonblocking) return disk_call(SYS_sendfile, out, in, offset, size);
  const fd_kind sink = doors_see_all && c.kind() == fd_kind::stream_socket ? c.kind() : classify(to);
  const bool to_pipe = sink == fd_kind::fifo;
  // What the kernel refuses it refuses for no bytes as well. But into a full pipe it waits with those, too; and of a file, a
  // splice is refused for the same reasons.
  if (to_pipe && (classify(from) == fd_kind::file || !poll_now(to, POLLOUT))) return send_to_pipe(out, in, offset, size);
  if (const long refusal = attempt(SYS_sendfile, out, in, offset, 0); refusal || size <= 0)
    return refusal ? refusal : attempt(SYS_sendfile, out, in, offset, size);
  if (!waits(sink)) return disk_call(SYS_sendfile, out, in, offset, size);
  if (sink == fd_kind::stream_socket)
    return send_to_socket(c, from, offset, static_cast<std::size_t>(std::min(size, 0x7ffff000L)));
  if (to_pipe) return send_to_pipe(out, in, offset, size);
  return offloaded("sendfile", to, restarts::yes, SYS_sendfile, out, in, offset, size);
}

}  // namespace bide::call
