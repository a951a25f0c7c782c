#include "lib/call/partial.hpp"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "lib/base/arena.hpp"
#include "lib/fiber/park.hpp"

namespace bide::call {

partial::~partial() { base::arena_free(copy_); }

bool partial::advance(std::size_t n) noexcept {
  done_ += n;
  std::size_t total = 0;
  for (long i = 0; i < count_; ++i) total += now_[i].iov_len;
  if (n >= total) return false;
  if (!copy_ && now_ != &single_) {
    if (count_ > 1) {
      copy_ = static_cast<iovec*>(base::arena_allocate(static_cast<std::size_t>(count_) * sizeof(iovec)));
      if (!copy_) return false;
      std::memcpy(copy_, now_, static_cast<std::size_t>(count_) * sizeof(iovec));
      now_ = copy_;
    } else {
      single_ = *now_;
      now_ = &single_;
    }
  }
  auto* v = const_cast<iovec*>(now_);
  while (n >= v->iov_len) {
    n -= v->iov_len;
    ++v;
    --count_;
  }
  v->iov_base = static_cast<char*>(v->iov_base) + n;
  v->iov_len -= n;
  now_ = v;
  return true;
}

long pending_error(int fd, long otherwise) noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  sys::raw(SYS_getsockopt, fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error ? error : otherwise;
}

long as_far(long done, long end) noexcept {
  if (!done) return end;
  if (end == -ECANCELED) core::keep_cancel(*core::this_fiber());
  return done;
}

bool error_waits(const fd_call& c) noexcept {
  const bool socket = c.kind() == io::fd_kind::stream_socket || c.kind() == io::fd_kind::message_socket;
  return socket && (poll_now(c.fd(), 0) & (POLLERR | POLLHUP));
}

}  // namespace bide::call
