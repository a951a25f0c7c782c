#include "support/fault_plan.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <vector>

#include "lib/call/attempt.hpp"

namespace unit {
namespace {

fault_plan* current = nullptr;  // set while no fiber runs, or by the one that does

std::vector<iovec> cut(const iovec* v, long count, std::size_t most) {
  std::vector<iovec> shorter;
  for (long i = 0; i < count && most; ++i) {
    shorter.push_back({v[i].iov_base, std::min(v[i].iov_len, most)});
    most -= shorter.back().iov_len;
  }
  return shorter;
}

// Asks the kernel for less.
long ask_for_less(long nr, const long (&a)[6], long most) {
  using bide::sys::raw;
  const auto size = static_cast<std::size_t>(most);
  switch (nr) {
    case SYS_read: case SYS_write: case SYS_pread64: case SYS_pwrite64: case SYS_recvfrom: case SYS_sendto:
    case SYS_recvmmsg: case SYS_sendmmsg: case SYS_tee:
      return raw(nr, a[0], a[1], std::min(a[2], most), a[3], a[4], a[5]);
    case SYS_sendfile: return raw(nr, a[0], a[1], a[2], std::min(a[3], most));
    case SYS_splice: case SYS_copy_file_range: return raw(nr, a[0], a[1], a[2], a[3], std::min(a[4], most), a[5]);
    case SYS_readv: case SYS_writev: case SYS_preadv: case SYS_pwritev: case SYS_preadv2: case SYS_pwritev2: case SYS_vmsplice: {
      const std::vector<iovec> v = cut(reinterpret_cast<const iovec*>(a[1]), a[2], size);
      return raw(nr, a[0], v.data(), v.size(), a[3], a[4], a[5]);
    }
    case SYS_recvmsg: case SYS_sendmsg: {
      auto* whole = reinterpret_cast<msghdr*>(a[1]);
      std::vector<iovec> v = cut(whole->msg_iov, static_cast<long>(whole->msg_iovlen), size);
      msghdr less = *whole;
      less.msg_iov = v.data();
      less.msg_iovlen = v.size();
      const long n = raw(nr, a[0], &less, a[2]);
      if (nr == SYS_recvmsg) {
        whole->msg_namelen = less.msg_namelen;
        whole->msg_controllen = less.msg_controllen;
        whole->msg_flags = less.msg_flags;
      }
      return n;
    }
    default: return raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
}

}  // namespace

fault_plan::rule& fault_plan::rule::calls(int first, int last) {
  from_ = first;
  to_ = last;
  return *this;
}
fault_plan::rule& fault_plan::rule::every(int period, int n) {
  period_ = period;
  phase_ = n;
  return *this;
}
fault_plan::rule& fault_plan::rule::answer(long value) {
  answers_ = true;
  answer_ = value;
  return *this;
}
fault_plan::rule& fault_plan::rule::at_most(long count) {
  most_ = count;
  return *this;
}
fault_plan::rule& fault_plan::rule::first(std::function<void()> action) {
  action_ = std::move(action);
  return *this;
}

fault_plan::fault_plan() {
  current = this;
  bide::call::attempt_observer = observe;
}
fault_plan::~fault_plan() {
  bide::call::attempt_observer = nullptr;
  current = nullptr;
}

fault_plan::rule& fault_plan::on(long nr) {
  const std::lock_guard guard(lock_);
  return rules_.emplace_back(rule(nr));
}

int fault_plan::calls(long nr) const {
  const std::lock_guard guard(lock_);
  return counts_[nr];
}
int fault_plan::faults() const {
  const std::lock_guard guard(lock_);
  return faults_;
}

bool fault_plan::observe(long nr, const long (&arguments)[6], long& answer) {
  fault_plan& plan = *current;
  const rule* fits = nullptr;
  {
    const std::lock_guard guard(plan.lock_);
    const int number = ++plan.counts_[nr];
    for (const rule& r : plan.rules_) {
      if (r.nr_ != nr || number < r.from_ || number > r.to_ || number % r.period_ != r.phase_) continue;
      fits = &r;  // rules are never taken off
      ++plan.faults_;
      break;
    }
  }
  if (!fits) return false;
  if (fits->action_) fits->action_();
  if (fits->answers_) answer = fits->answer_;
  if (!fits->answers_ && fits->most_ >= 0) answer = ask_for_less(nr, arguments, fits->most_);
  return fits->answers_ || fits->most_ >= 0;
}

}  // namespace unit
