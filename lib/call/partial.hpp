// Transfers that go on until all bytes are through: what is left, and when to stop with what there is.
#pragma once

#include <sys/uio.h>

#include <cstddef>

#include "lib/call/attempt.hpp"

namespace bide::call {

// A vector of which the first bytes are done. The caller's own is passed on until a first part is done; by then the
// kernel has read it, so it may be looked at.
class partial {
 public:
  partial(const iovec* v, long count) noexcept : now_(v), count_(count) {}
  partial(const partial&) = delete;
  ~partial();

  const iovec* now() const noexcept { return now_; }
  long count() const noexcept { return count_; }
  std::size_t done() const noexcept { return done_; }

  // Takes note of `n` bytes done. Returns whether anything is left; with no memory to go on, says no.
  bool advance(std::size_t n) noexcept;

 private:
  const iovec* now_;
  long count_;
  std::size_t done_ = 0;
  iovec* copy_ = nullptr;
  iovec single_;
};

// After a part has been transferred: whether going on would only fetch a socket's error, or a SIGPIPE, which belong to
// the next call, as in the kernel (tcp(7): a pending error is reported once).
bool error_waits(const fd_call&) noexcept;

// What a call returns that was ended after it had moved `done`: that much, or `end`. A cancel is then for the next call.
long as_far(long done, long end) noexcept;

// Takes the socket's error, or `otherwise` if it has none.
long pending_error(int fd, long otherwise) noexcept;

// Writes until nothing is left; returns all, or what was written before a timeout, a signal or an error, or the error.
template <class Try>
long write_all(fd_call& c, partial& rest, Try try_once) noexcept {
  for (;;) {
    const long n = try_once(rest.now(), rest.count());
    if (n >= 0) {
      if (!rest.advance(static_cast<std::size_t>(n))) return static_cast<long>(rest.done());
      if (c.kind() == io::fd_kind::fifo) continue;  // went in a piece at a time
      if (n > 0 && c.quiet()) c.restart_timeout();
    } else if (n != -EAGAIN) {
      if (rest.done()) return static_cast<long>(rest.done());
      return n == -EPIPE && c.quiet() ? -pending_error(c.fd(), EPIPE) : n;
    }
    // Short: the next attempt would most likely wait, and a caller who does not wait gets the count.
    const auto moved = rest.done() ? fd_call::moved::something : fd_call::moved::nothing;
    if (const long end = c.wait(moved)) return as_far(static_cast<long>(rest.done()), end);
    if (rest.done() && error_waits(c)) return static_cast<long>(rest.done());
  }
}

// Reads until `size` bytes are there, the end of the stream, an error, a timeout or a signal, or an attempt that says it
// was the last.
template <class Try>
long read_all(fd_call& c, std::size_t size, Try try_from) noexcept {
  std::size_t done = 0;
  for (;;) {
    bool last = false;
    const long n = try_from(done, last);
    if (n == 0) return static_cast<long>(done);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      if (done >= size || last) return static_cast<long>(done);
    } else if (n != -EAGAIN) {
      return done ? static_cast<long>(done) : n;
    }
    const auto moved = done ? fd_call::moved::something : fd_call::moved::nothing;
    if (const long end = c.wait(moved)) return as_far(static_cast<long>(done), end);
    if (done && error_waits(c)) return static_cast<long>(done);
  }
}

}  // namespace bide::call
