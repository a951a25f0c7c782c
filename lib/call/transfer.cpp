// read, write and kin: bytes through one descriptor.
//
// Sockets are tried with MSG_DONTWAIT, other streams with RWF_NOWAIT, the rest after a zero-time poll. What a descriptor
// is comes from the last time; a wrong guess shows itself (ENOTSOCK, EOPNOTSUPP) and is corrected.
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>

#include "lib/base/arena.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/call/partial.hpp"
#include "lib/call/terminal.hpp"
#include "lib/sys/features.hpp"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008  // preadv2(2), Linux 4.14
#endif

namespace bide::call {
namespace {

using io::fd_kind;

constexpr iovec nothing{nullptr, 0};

bool maybe_socket(fd_kind k) noexcept {
  return k == fd_kind::unknown || k == fd_kind::stream_socket || k == fd_kind::message_socket;
}

// From poll(2)'s answer to the transfer it promises, nobody else in a fiber may take what is there or fill the room: two
// workers that had both seen the last byte would have one of them wait in the kernel. Whoever holds it for long waits
// there because of another process, and the others had better go on.
class transfer_turn {
 public:
  explicit transfer_turn(const fd_call& c) noexcept : facts_(c.facts()) {
    for (int tries = 0; facts_ && facts_->transfer.exchange(true, std::memory_order_acquire); ++tries) {
      if (tries < 300) __builtin_ia32_pause();
      else if (tries < 320) sys::raw(SYS_sched_yield);
      else break;
    }
  }
  ~transfer_turn() { end(); }
  void end() noexcept {
    if (facts_) facts_->transfer.store(false, std::memory_order_release);
    facts_ = nullptr;
  }
  transfer_turn(const transfer_turn&) = delete;

 private:
  io::fd_facts* facts_;
};

// One attempt to read into the caller's vector, whatever the descriptor is. -EAGAIN: it would have waited.
long try_read(fd_call& c, const iovec* v, long count) noexcept {
  for (;;) {
    const fd_kind kind = c.kind();
    if (maybe_socket(kind)) {
      if (c.below_low_water()) return -EAGAIN;
      msghdr m{};
      m.msg_iov = const_cast<iovec*>(v);
      m.msg_iovlen = static_cast<std::size_t>(count);
      const long n = count == 1 ? attempt(SYS_recvfrom, c.fd(), v->iov_base, v->iov_len, MSG_DONTWAIT, nullptr, nullptr)
                                : attempt(SYS_recvmsg, c.fd(), &m, MSG_DONTWAIT);
      if (n != -ENOTSOCK) return n;
      c.correct_kind(fd_kind::nowait);
      continue;
    }
    if ((kind == fd_kind::nowait || kind == fd_kind::file) && sys::features().rwf_nowait) {
      const long n = attempt(SYS_preadv2, c.fd(), v, count, -1, -1, RWF_NOWAIT);
      if (n != -EOPNOTSUPP && n != -EAGAIN) return n;
      const fd_kind found = classify(c.fd());
      // A regular file whose page is not in memory says EAGAIN: reading it is what the program wants, and no poll helps.
      if (found == fd_kind::file) return disk_call(SYS_readv, c.fd(), sys::word(v), count);
      if (n == -EAGAIN) return n;
      c.set_kind(found);
      if (maybe_socket(found)) continue;
    } else if (kind == fd_kind::nowait) {
      c.set_kind(classify(c.fd()));
      if (c.kind() == fd_kind::nowait || maybe_socket(c.kind())) continue;
    }
    transfer_turn turn(c);
    const bool terminal = c.kind() == fd_kind::terminal;
    const terminal_read how = terminal ? how_it_reads(c.fd()) : terminal_read::by_poll;
    const bool polled = how == terminal_read::by_poll || how == terminal_read::by_both;
    if (polled && !poll_now(c.fd(), POLLIN)) {
      // A transfer of nothing never waits, and is refused where any would be; a count of less than 8 bytes as well.
      if (const long refusal = attempt(SYS_readv, c.fd(), &nothing, 1)) return refusal;
      const bool too_small = c.kind() == fd_kind::counter && count == 1 && v->iov_len < sizeof(std::uint64_t);
      return too_small ? attempt(SYS_readv, c.fd(), v, count) : -EAGAIN;
    }
    if (how == terminal_read::by_poll || how == terminal_read::never_waits || c.settings().nonblocking) {
      const long n = attempt(SYS_readv, c.fd(), v, count);
      // A reader who waits for a terminal that is hung up gets EIO; only those who come later get its end.
      return n == 0 && terminal && c.waited() && (poll_now(c.fd(), 0) & POLLHUP) ? -EIO : n;
    }
    turn.end();
    return offloaded(c, SYS_readv, c.fd(), v, count);
  }
}

// One attempt to write. -EAGAIN: it would have waited.
long try_write(fd_call& c, const iovec* v, long count) noexcept {
  for (;;) {
    const fd_kind kind = c.kind();
    if (maybe_socket(kind)) {
      msghdr m{};
      m.msg_iov = const_cast<iovec*>(v);
      m.msg_iovlen = static_cast<std::size_t>(count);
      const int flags = MSG_DONTWAIT | (c.quiet() ? MSG_NOSIGNAL : 0);
      const long n = count == 1 ? attempt(SYS_sendto, c.fd(), v->iov_base, v->iov_len, flags, nullptr, 0)
                                : attempt(SYS_sendmsg, c.fd(), &m, flags);
      if (n != -ENOTSOCK) return n;
      c.correct_kind(fd_kind::nowait);
      continue;
    }
    if (kind == fd_kind::file && doors_see_all) return disk_call(SYS_writev, c.fd(), sys::word(v), count);
    if (kind == fd_kind::nowait && sys::features().rwf_nowait) {
      const long n = attempt(SYS_pwritev2, c.fd(), v, count, -1, -1, RWF_NOWAIT);
      if (n != -EOPNOTSUPP) return n;
    }
    // A descriptor may be nowait to read and not to write (eventfd), so the kind it is remembered by stays.
    const fd_kind found = classify(c.fd());
    if (maybe_socket(found) && found != fd_kind::unknown) {
      c.set_kind(found);
      continue;
    }
    if (found == fd_kind::file) {
      c.set_kind(found);
      return disk_call(SYS_writev, c.fd(), sys::word(v), count);
    }
    if (found == fd_kind::unknown) return attempt(SYS_writev, c.fd(), v, count);
    if (c.settings().nonblocking) return attempt(SYS_writev, c.fd(), v, count);
    transfer_turn turn(c);
    if (!poll_now(c.fd(), POLLOUT)) {
      const long refusal = attempt(SYS_writev, c.fd(), &nothing, 1);
      return refusal ? refusal : -EAGAIN;
    }
    if (found == fd_kind::fifo) {
      c.set_kind(found);
      // pipe(7): room for PIPE_BUF bytes is what POLLOUT means, and that many are written at once or not at all.
      std::size_t total = 0;
      for (long i = 0; i < count; ++i) total += v[i].iov_len;
      if (total <= PIPE_BUF) return attempt(SYS_writev, c.fd(), v, count);
      while (!v->iov_len) ++v;
      const iovec piece{v->iov_base, std::min<std::size_t>(v->iov_len, PIPE_BUF)};
      return attempt(SYS_writev, c.fd(), &piece, 1);
    }
    std::uint64_t value = 0;
    if (found == fd_kind::counter && count == 1 && v->iov_len == sizeof value &&
        copy_in(&value, v->iov_base, sizeof value) == 0 && value <= 1)
      return attempt(SYS_writev, c.fd(), v, count);  // eventfd(2): POLLOUT means that 1 can be added
    turn.end();
    // A tty takes less than poll promises, and a large eventfd value may not fit.
    return offloaded(c, SYS_writev, c.fd(), v, count);
  }
}

long read_vector(const char* name, int fd, const iovec* v, long count, std::size_t asked) noexcept {
  fd_call c(fd, readiness::readable, name);
  if (c.park_first()) {
    if (const long end = c.wait()) return end;
  }
  const long n = until_done(c, [&] { return try_read(c, v, count); });
  c.note_read(n, asked);
  return n;
}

// A blocking write writes everything: write(2), "Blocking".
long write_vector(const char* name, int fd, const iovec* v, long count) noexcept {
  fd_call c(fd, readiness::writable, name);
  partial rest(v, count);
  return write_all(c, rest, [&](const iovec* now, long left) { return try_write(c, now, left); });
}

// The caller's vector, copied in as the kernel does. A bad count has size 0: the kernel's own answer to it doesn't wait.
class vector {
 public:
  vector(long from, long count) noexcept : more_(count > few && count <= IOV_MAX ? static_cast<std::size_t>(count) : 0) {
    if (count <= 0 || count > IOV_MAX) return;
    items_ = count > few ? more_.get() : here_;
    error_ = items_ ? copy_in(items_, reinterpret_cast<void*>(from), static_cast<std::size_t>(count) * sizeof(iovec))
                    : -ENOMEM;
    for (long i = 0; i < count && !error_; ++i) size_ += items_[i].iov_len;
  }
  long error() const noexcept { return error_; }
  const iovec* get() const noexcept { return items_; }
  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr long few = 8;
  iovec here_[few];
  base::room<iovec> more_;
  iovec* items_ = nullptr;
  long error_ = 0;
  std::size_t size_ = 0;
};

}  // namespace

long read_call(long fd, long to, long size, long, long, long) {
  if (!size || size >> 46) return attempt(SYS_read, fd, to, size);  // nothing, or EFAULT: more than there is
  const iovec v{reinterpret_cast<void*>(to), static_cast<std::size_t>(size)};
  return read_vector("read", static_cast<int>(fd), &v, 1, v.iov_len);
}

long readv_call(long fd, long v, long count, long, long, long) {
  const vector all(v, count);
  if (all.error()) return all.error();
  if (!all.size()) return attempt(SYS_readv, fd, v, count);
  return read_vector("readv", static_cast<int>(fd), all.get(), count, all.size());
}

long write_call(long fd, long from, long size, long, long, long) {
  if (!size || size >> 46) return attempt(SYS_write, fd, from, size);
  const iovec v{reinterpret_cast<void*>(from), static_cast<std::size_t>(size)};
  return write_vector("write", static_cast<int>(fd), &v, 1);
}

long writev_call(long fd, long v, long count, long, long, long) {
  const vector all(v, count);
  if (all.error()) return all.error();
  if (!all.size()) return attempt(SYS_writev, fd, v, count);
  return write_vector("writev", static_cast<int>(fd), all.get(), count);
}

namespace {

constexpr long all_flags = 0x3f;   // linux/fs.h: RWF_SUPPORTED, as of Linux 6.9
constexpr long own_position = -1;  // preadv2(2): an offset of -1 is a read(2) that takes flags

bool is_plain(long low, long high) noexcept { return low == own_position && (high == 0 || high == -1); }

// With flags: the same attempt with RWF_NOWAIT added, and where a descriptor knows none, after a poll.
template <class Wait>
long once_with_flags(fd_call& c, long nr, const iovec* v, long count, long flags, short event, Wait other) noexcept {
  const bool has_form = sys::features().rwf_nowait;
  const long now = has_form ? attempt(nr, c.fd(), v, count, own_position, own_position, flags | RWF_NOWAIT) : -EOPNOTSUPP;
  if ((now != -EOPNOTSUPP && now != -EAGAIN) || (flags & ~all_flags)) return now;
  if (c.kind() == fd_kind::unknown) c.set_kind(classify(c.fd()));
  if (c.kind() == fd_kind::file) return disk_call(nr, c.fd(), sys::word(v), count, own_position, own_position, flags);
  if (now == -EAGAIN) return now;
  if (!c.settings().nonblocking && !poll_now(c.fd(), event)) return -EAGAIN;
  return other();
}

}  // namespace

long preadv2_call(long fd, long v, long count, long low, long high, long flags) {
  if (flags & RWF_NOWAIT) return attempt(SYS_preadv2, fd, v, count, low, high, flags);
  if (!is_plain(low, high)) return disk_call(SYS_preadv2, fd, v, count, low, high, flags);
  if (!flags) return readv_call(fd, v, count, 0, 0, 0);
  const vector all(v, count);
  if (all.error()) return all.error();
  if (!all.size()) return attempt(SYS_preadv2, fd, v, count, low, high, flags);
  fd_call c(static_cast<int>(fd), readiness::readable, "preadv2");
  return until_done(c, [&] {
    return once_with_flags(c, SYS_preadv2, all.get(), count, flags, POLLIN, [&] {
      return attempt(SYS_preadv2, fd, all.get(), count, low, high, flags);
    });
  });
}

long pwritev2_call(long fd, long v, long count, long low, long high, long flags) {
  if (flags & RWF_NOWAIT) return attempt(SYS_pwritev2, fd, v, count, low, high, flags);
  if (!is_plain(low, high)) return disk_call(SYS_pwritev2, fd, v, count, low, high, flags);
  if (!flags) return writev_call(fd, v, count, 0, 0, 0);
  const vector all(v, count);
  if (all.error()) return all.error();
  if (!all.size()) return attempt(SYS_pwritev2, fd, v, count, low, high, flags);
  fd_call c(static_cast<int>(fd), readiness::writable, "pwritev2");
  partial rest(all.get(), count);
  return write_all(c, rest, [&](const iovec* now, long left) {
    return once_with_flags(c, SYS_pwritev2, now, left, flags, POLLOUT, [&] {
      return offloaded(c, SYS_pwritev2, fd, now, left, low, high, flags);
    });
  });
}

long recvfrom_call(long fd, long to, long size, long flags, long address, long address_size) {
  constexpr long never_waits = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB;
  if (flags & never_waits) return attempt(SYS_recvfrom, fd, to, size, flags, address, address_size);
  fd_call c(static_cast<int>(fd), readiness::readable, "recv");
  if ((flags & MSG_WAITALL) && c.kind() != fd_kind::message_socket) {
    if (c.kind() == fd_kind::unknown) c.set_kind(classify(c.fd()));
    if (c.kind() == fd_kind::stream_socket) {
      // A peek that waits for all of it has no form that doesn't wait.
      if ((flags & MSG_PEEK) && !c.settings().nonblocking)
        return offloaded(c, SYS_recvfrom, fd, to, size, flags, address, address_size);
      return read_all(c, static_cast<std::size_t>(size), [&](std::size_t done, bool& last) {
        const long at = to + static_cast<long>(done), left = size - static_cast<long>(done);
        if (address) return attempt(SYS_recvfrom, fd, at, left, flags | MSG_DONTWAIT, address, address_size);
        iovec v{reinterpret_cast<void*>(at), static_cast<std::size_t>(left)};
        msghdr m{};
        m.msg_iov = &v;
        m.msg_iovlen = 1;
        const long n = attempt(SYS_recvmsg, fd, &m, flags | MSG_DONTWAIT);
        last = n > 0 && (m.msg_flags & MSG_CTRUNC);  // descriptors came with it: unix(7) ends the read there
        return n;
      });
    }
  }
  if (c.park_first()) {
    if (const long end = c.wait()) return end;
  }
  const long n = until_done(c, [&] {
    if (c.below_low_water()) return -long{EAGAIN};
    return attempt(SYS_recvfrom, fd, to, size, flags | MSG_DONTWAIT, address, address_size);
  });
  if (!(flags & MSG_PEEK) && c.kind() == fd_kind::stream_socket) c.note_read(n, static_cast<std::size_t>(size));
  return n;
}

long sendto_call(long fd, long from, long size, long flags, long address, long address_size) {
  if (flags & (MSG_DONTWAIT | MSG_OOB)) return attempt(SYS_sendto, fd, from, size, flags, address, address_size);
  fd_call c(static_cast<int>(fd), readiness::writable, "send");
  const iovec v{reinterpret_cast<void*>(from), static_cast<std::size_t>(size)};
  partial rest(&v, 1);
  return write_all(c, rest, [&](const iovec* now, long) {
    const long quiet = c.quiet() ? MSG_NOSIGNAL : 0;
    return attempt(SYS_sendto, fd, now->iov_base, now->iov_len, flags | MSG_DONTWAIT | quiet, address, address_size);
  });
}

}  // namespace bide::call
