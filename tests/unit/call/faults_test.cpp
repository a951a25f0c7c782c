// Each call of the table under faults: what the kernel refuses reaches the caller as it is, a wake for nothing is
// invisible, and a short count is gone on with where the kernel would have gone on.
#include <doctest/doctest.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "lib/call/table.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/runtime.hpp"

using namespace unit;

namespace {

// A call that has all it needs to succeed at once.
struct row {
  const char* name;
  long nr;
  long attempted;  // what it asks the kernel
  std::vector<int> errors;
  std::function<long()> make;
  bool waits;  // EAGAIN has it wait
};

class stage {
 public:
  ~stage() { ::unlink(path_); }
  stage() : sockets_(socket_pair()), messages_(socket_pair(SOCK_DGRAM)), set_(::epoll_create1(EPOLL_CLOEXEC)) {
    listener_ = listener(port_);
    make_call(SYS_fcntl, listener_, F_SETFL, O_NONBLOCK);
    client_ = fd(make_call(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    const std::string plenty(64 * 1024, 'x');
    for (int i = 0; i < 2; ++i) write_text(sockets_.theirs, plenty);
    for (int i = 0; i < 8; ++i) write_text(messages_.theirs, "message");
    if (::pwrite(file_, plenty.data(), 128, 0) != 128) FAIL("no file");
    epoll_event readable{EPOLLIN, {}};
    ::epoll_ctl(set_, EPOLL_CTL_ADD, sockets_.ours, &readable);
  }

  std::vector<row> rows() {
    const std::vector<int> receive{EINTR, ENOMEM, ECONNRESET, ETIMEDOUT}, send{EINTR, ENOMEM, ENOBUFS, ECONNRESET, EPIPE},
        make{EMFILE, ENFILE, ENOMEM, ENOBUFS};
    const fd &in = sockets_.ours, &out = sockets_.ours;
    return {
        {"read", SYS_read, SYS_recvfrom, receive, [&] { return make_call(SYS_read, in, buffer_, 8); }, true},
        {"readv", SYS_readv, SYS_recvmsg, receive, [&] { return make_call(SYS_readv, in, two_, 2); }, true},
        {"recvfrom", SYS_recvfrom, SYS_recvfrom, receive,
         [&] { return make_call(SYS_recvfrom, in, buffer_, 8, 0, nullptr, nullptr); }, true},
        {"recvmsg", SYS_recvmsg, SYS_recvmsg, receive, [&] { return make_call(SYS_recvmsg, in, header(), 0); }, true},
        {"recvmmsg", SYS_recvmmsg, SYS_recvmmsg, receive,
         [&] { return make_call(SYS_recvmmsg, messages_.ours, headers(), 1, 0, nullptr); }, true},
        {"write", SYS_write, SYS_sendto, send, [&] { return make_call(SYS_write, out, buffer_, 8); }, true},
        {"writev", SYS_writev, SYS_sendmsg, send, [&] { return make_call(SYS_writev, out, two_, 2); }, true},
        {"sendto", SYS_sendto, SYS_sendto, send,
         [&] { return make_call(SYS_sendto, out, buffer_, 8, 0, nullptr, 0); }, true},
        {"sendmsg", SYS_sendmsg, SYS_sendmsg, send, [&] { return make_call(SYS_sendmsg, out, header(), 0); }, true},
        {"sendmmsg", SYS_sendmmsg, SYS_sendmmsg, {ENOMEM, ENOBUFS},
         [&] { return make_call(SYS_sendmmsg, messages_.ours, headers(), 1, 0); }, true},
        {"accept", SYS_accept, SYS_accept4, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EINTR, ECONNABORTED},
         [&] { return make_call(SYS_accept, listener_, nullptr, nullptr); }, false},
        {"accept4", SYS_accept4, SYS_accept4, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EINTR, ECONNABORTED},
         [&] { return make_call(SYS_accept4, listener_, nullptr, nullptr, SOCK_CLOEXEC); }, false},
        {"connect", SYS_connect, SYS_connect, {ENOBUFS, ENOMEM, EADDRNOTAVAIL, ENETUNREACH, EINTR},
         [&] { return connect_to(client_, port_); }, false},
        {"poll", SYS_poll, SYS_poll, {ENOMEM, EINVAL}, [&] { return make_call(SYS_poll, one_readable(), 1, -1); }, false},
        {"ppoll", SYS_ppoll, SYS_poll, {ENOMEM, EINVAL},
         [&] { return make_call(SYS_ppoll, one_readable(), 1, nullptr, nullptr, 8); }, false},
        {"select", SYS_select, SYS_pselect6, {ENOMEM, EBADF},
         [&] { return make_call(SYS_select, in + 1, set_of(in), nullptr, nullptr, nullptr); }, false},
        {"pselect6", SYS_pselect6, SYS_pselect6, {ENOMEM, EBADF},
         [&] { return make_call(SYS_pselect6, in + 1, set_of(in), nullptr, nullptr, nullptr, nullptr); }, false},
        {"epoll_wait", SYS_epoll_wait, SYS_epoll_pwait, {EINVAL, EFAULT},
         [&] { return make_call(SYS_epoll_wait, set_, &event_, 1, -1); }, false},
        {"epoll_pwait", SYS_epoll_pwait, SYS_epoll_pwait, {EINVAL, EFAULT},
         [&] { return make_call(SYS_epoll_pwait, set_, &event_, 1, -1, nullptr, 8); }, false},
        {"epoll_pwait2", SYS_epoll_pwait2, SYS_epoll_pwait, {EINVAL, EFAULT},
         [&] { return make_call(SYS_epoll_pwait2, set_, &event_, 1, nullptr, nullptr, 8); }, false},
        {"close", SYS_close, SYS_close, {EIO, EINTR}, [&] { return close_one(); }, false},
        {"close_range", SYS_close_range, SYS_close_range, {EMFILE, ENOMEM},
         [&] { return make_call(SYS_close_range, 900'000, 900'001, 0); }, false},
        {"dup", SYS_dup, SYS_dup, {EMFILE}, [&] { return make_call(SYS_dup, in); }, false},
        {"dup2", SYS_dup2, SYS_dup2, {EBUSY, EMFILE, EINTR}, [&] { return make_call(SYS_dup2, in, spare_); }, false},
        {"dup3", SYS_dup3, SYS_dup3, {EBUSY, EMFILE, EINTR}, [&] { return make_call(SYS_dup3, in, spare_, 0); }, false},
        {"fcntl", SYS_fcntl, SYS_fcntl, {EMFILE, ENOMEM}, [&] { return make_call(SYS_fcntl, in, F_DUPFD, 0); }, false},
        {"ioctl", SYS_ioctl, SYS_ioctl, {ENOMEM, EINTR}, [&] { return make_call(SYS_ioctl, in, FIONREAD, &count_); }, false},
        {"setsockopt", SYS_setsockopt, SYS_setsockopt, {ENOMEM, ENOBUFS},
         [&] { return make_call(SYS_setsockopt, in, SOL_SOCKET, SO_SNDBUF, &large_, sizeof large_); }, false},
        {"shutdown", SYS_shutdown, SYS_shutdown, {ENOTCONN, ENOMEM},
         [&] { return make_call(SYS_shutdown, messages_.theirs, SHUT_RD); }, false},
        {"socket", SYS_socket, SYS_socket, make, [&] { return make_call(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }, false},
        {"socketpair", SYS_socketpair, SYS_socketpair, make,
         [&] { return pair(make_call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, both_)); }, false},
        {"pipe", SYS_pipe, SYS_pipe, make, [&] { return pair(make_call(SYS_pipe, both_)); }, false},
        {"pipe2", SYS_pipe2, SYS_pipe2, make, [&] { return pair(make_call(SYS_pipe2, both_, O_CLOEXEC)); }, false},
        {"wait4", SYS_wait4, SYS_wait4, {ECHILD, EINTR}, [&] { return make_call(SYS_wait4, child(), nullptr, 0, nullptr); }, false},
        {"waitid", SYS_waitid, SYS_waitid, {ECHILD, EINTR},
         [&] { return make_call(SYS_waitid, P_PID, child(), nullptr, WEXITED, nullptr); }, false},
    };
  }

  // Those whose attempt is the call itself, of files and what else has no form of its own that never waits.
  std::vector<row> plain_rows() {
    const std::vector<int> disk{EIO, ENOSPC, EINTR, ENOMEM}, opens{EMFILE, ENFILE, ENOMEM, EINTR, ENOSPC};
    std::vector<row> all;
    const auto add = [&](const char* name, long nr, const std::vector<int>& errors, std::function<long()> make) {
      all.push_back({name, nr, nr, errors, std::move(make), false});
    };
    add("pread64", SYS_pread64, disk, [&] { return make_call(SYS_pread64, file_, buffer_, 8, 0); });
    add("pwrite64", SYS_pwrite64, disk, [&] { return make_call(SYS_pwrite64, file_, buffer_, 8, 0); });
    add("preadv", SYS_preadv, disk, [&] { return make_call(SYS_preadv, file_, two_, 2, 0, 0); });
    add("pwritev", SYS_pwritev, disk, [&] { return make_call(SYS_pwritev, file_, two_, 2, 0, 0); });
    add("preadv2", SYS_preadv2, disk, [&] { return make_call(SYS_preadv2, file_, two_, 2, 0, 0, 0); });
    add("pwritev2", SYS_pwritev2, disk, [&] { return make_call(SYS_pwritev2, file_, two_, 2, 0, 0, 0); });
    add("copy_file_range", SYS_copy_file_range, disk, [&] {
      long from = 0, to = 64;
      return make_call(SYS_copy_file_range, file_, &from, file_, &to, 8, 0);
    });
    add("fsync", SYS_fsync, disk, [&] { return make_call(SYS_fsync, file_); });
    add("fdatasync", SYS_fdatasync, disk, [&] { return make_call(SYS_fdatasync, file_); });
    add("sync_file_range", SYS_sync_file_range, disk, [&] { return make_call(SYS_sync_file_range, file_, 0, 0, 0); });
    add("syncfs", SYS_syncfs, {EIO}, [&] { return make_call(SYS_syncfs, file_); });
    add("sync", SYS_sync, {EINTR}, [&] { return make_call(SYS_sync); });
    add("msync", SYS_msync, {EIO, EBUSY, ENOMEM}, [&] { return make_call(SYS_msync, nullptr, 0, MS_ASYNC); });
    add("fallocate", SYS_fallocate, disk, [&] { return make_call(SYS_fallocate, file_, 0, 0, 128); });
    add("truncate", SYS_truncate, disk, [&] { return make_call(SYS_truncate, path_, 128); });
    add("ftruncate", SYS_ftruncate, disk, [&] { return make_call(SYS_ftruncate, file_, 128); });
    add("readahead", SYS_readahead, {EBADF, EINVAL}, [&] { return make_call(SYS_readahead, file_, 0, 8); });
    add("open", SYS_open, opens, [&] { return make_call(SYS_open, path_, O_RDONLY, 0); });
    add("openat", SYS_openat, opens, [&] { return make_call(SYS_openat, AT_FDCWD, path_, O_RDONLY, 0); });
    add("creat", SYS_creat, opens, [&] { return make_call(SYS_creat, path_, 0600); });
    add("getrandom", SYS_getrandom, {EINTR, ENOSYS}, [&] { return make_call(SYS_getrandom, buffer_, 8, 0); });
    add("flock", SYS_flock, {ENOLCK, EINTR}, [&] { return make_call(SYS_flock, file_, LOCK_EX); });
    add("semtimedop", SYS_semtimedop, {EIDRM, ENOMEM, EINTR}, [&] {
      sembuf up{0, 1, 0};
      return make_call(SYS_semtimedop, semaphore_.id, &up, 1, nullptr);
    });
    all.push_back({"semop", SYS_semop, SYS_semtimedop, {EIDRM, ENOMEM, EINTR}, [&] {
      sembuf up{0, 1, 0};
      return make_call(SYS_semop, semaphore_.id, &up, 1);
    }, false});
    add("msgsnd", SYS_msgsnd, {EIDRM, ENOMEM, EINTR}, [&] {
      const struct { long type; char text[8]; } m{1, "message"};
      return make_call(SYS_msgsnd, messages_of_system_v_.id, &m, 8, 0);
    });
    add("msgrcv", SYS_msgrcv, {EIDRM, E2BIG, EINTR}, [&] {
      struct { long type; char text[8]; } m;
      return make_call(SYS_msgrcv, messages_of_system_v_.id, &m, 8, 0, 0);
    });
    if (ring_ >= 0) {
      add("io_uring_setup", SYS_io_uring_setup, {EMFILE, ENFILE, ENOMEM, EPERM}, [&] { return setup_ring(); });
      add("io_uring_enter", SYS_io_uring_enter, {EBUSY, ENXIO, EINTR}, [&] { return make_call(SYS_io_uring_enter, ring_, 0, 0, 0, nullptr, 0); });
    }
    return all;
  }

 private:
  msghdr* header() {
    header_.msg_hdr = {};
    header_.msg_hdr.msg_iov = two_;
    header_.msg_hdr.msg_iovlen = 2;
    return &header_.msg_hdr;
  }
  mmsghdr* headers() { return header(), &header_; }
  pollfd* one_readable() {
    one_ = {sockets_.ours, POLLIN, 0};
    return &one_;
  }
  fd_set* set_of(int number) {
    FD_ZERO(&bits_);
    FD_SET(number, &bits_);
    return &bits_;
  }
  long pair(long answer) {
    if (answer == 0) {
      fd{both_[0]};
      fd{both_[1]};
    }
    return answer;
  }
  long close_one() {
    if (closing_ < 0) closing_ = ::dup(0);
    const long answer = make_call(SYS_close, closing_);
    if (answer == 0) closing_ = -1;
    return answer;
  }
  // One that has ended, and waits to be collected.
  pid_t child() {
    if (child_ > 0 && ::kill(child_, 0) == 0) return child_;
    child_ = ::vfork();
    if (child_ == 0) _exit(0);
    return child_;
  }

  static long setup_ring() {
    io_uring_params p{};
    return make_call(SYS_io_uring_setup, 4, &p);
  }
  // System V's outlive who forgets them.
  struct kept {
    int id, (*drop)(int);
    ~kept() { drop(id); }
  };

  char path_[32] = "/tmp/bide-faults.XXXXXX";
  fd file_{::mkstemp(path_)}, ring_{setup_ring()};
  kept semaphore_{::semget(IPC_PRIVATE, 1, 0600), [](int id) { return ::semctl(id, 0, IPC_RMID); }};
  kept messages_of_system_v_{::msgget(IPC_PRIVATE, 0600), [](int id) { return ::msgctl(id, IPC_RMID, nullptr); }};
  ends sockets_, messages_;
  fd set_, listener_, client_, spare_{::dup(0)};
  unsigned short port_ = 0;
  char buffer_[8] = {};
  iovec two_[2] = {{buffer_, 4}, {buffer_ + 4, 4}};
  mmsghdr header_{};
  pollfd one_{};
  fd_set bits_{};
  epoll_event event_{};
  int count_ = 0, large_ = 1 << 16, both_[2] = {}, closing_ = -1;
  pid_t child_ = 0;
};

bool makes_descriptor(long nr) {
  return nr == SYS_open || nr == SYS_openat || nr == SYS_creat || nr == SYS_io_uring_setup || nr == SYS_dup || nr == SYS_fcntl || nr == SYS_socket || nr == SYS_accept || nr == SYS_accept4;
}

}  // namespace

TEST_SUITE("call/faults") {
  TEST_CASE("every call of the table has its faults here, or a reason") {
    stage all;
    // The sleeps and yields ask the kernel nothing; signals' masks and actions, and prctl, are in the table for options::trap.
    // The others have no attempt that a script could answer, or several, and are compared with the kernel's own answers in
    // tests/differential.
    std::set<long> scripted{SYS_nanosleep, SYS_clock_nanosleep, SYS_sched_yield, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_prctl,
                            SYS_openat2, SYS_io_getevents, SYS_io_pgetevents, SYS_futex_waitv, SYS_request_key, SYS_pause,
                            SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_splice, SYS_tee, SYS_vmsplice, SYS_sendfile,
                            SYS_mq_timedsend, SYS_mq_timedreceive, SYS_futex, SYS_io_uring_setup, SYS_io_uring_enter};
    for (const row& r : all.plain_rows()) scripted.insert(r.nr);
    for (const row& r : all.rows()) scripted.insert(r.nr);
    for (long nr = -1; (nr = bide::call::next_entry(nr)) >= 0;) {
      CAPTURE(nr);
      CHECK(scripted.count(nr) == 1);
    }
  }

  TEST_CASE("what the kernel refuses reaches the caller, and the next call succeeds") {
    in_runtime([] {
      stage all;
      std::vector<row> rows = all.rows();
      for (row& r : all.plain_rows()) rows.push_back(std::move(r));
      for (const row& r : rows) {
        CAPTURE(r.name);
        fault_plan faults;
        for (const int error : r.errors) {
          CAPTURE(error);
          faults.on(r.attempted).call(faults.calls(r.attempted) + 1).fail_with(error);
          CHECK(r.make() == -error);
        }
        CHECK(faults.faults() == static_cast<int>(r.errors.size()));
        const long well = r.make();
        if (r.nr == SYS_connect)
          CHECK(well == -EINPROGRESS);
        else if (r.nr == SYS_accept || r.nr == SYS_accept4)
          CHECK((well == -EAGAIN || well >= 0));
        else
          CHECK(well >= 0);
        if (makes_descriptor(r.nr) && well >= 0) fd{well};
      }
    });
  }

  TEST_CASE("a wake for nothing buys another attempt, for each call that waits") {
    on_workers([] {
      stage all;
      for (const row& r : all.rows()) {
        if (!r.waits) continue;
        CAPTURE(r.name);
        fault_plan faults;
        faults.on(r.attempted).calls(1, 2).fail_with(EAGAIN);
        CHECK(r.make() > 0);
        CHECK(faults.calls(r.attempted) == 3);
      }
    });
  }

  TEST_CASE("an error that comes after a wait is the call's") {
    in_runtime([] {
      stage all;
      for (const row& r : all.rows()) {
        if (!r.waits) continue;
        CAPTURE(r.name);
        fault_plan faults;
        faults.on(r.attempted).call(1).fail_with(EAGAIN);
        faults.on(r.attempted).call(2).fail_with(ENOMEM);
        CHECK(r.make() == -ENOMEM);
      }
    });
  }

  TEST_CASE("a blocking write goes on after a short count; a read shows it") {
    on_workers([] {
      for (const bool pipe : {false, true}) {
        CAPTURE(pipe);
        const ends pair = pipe ? pipe_ends() : socket_pair();
        fault_plan faults;
        for (const long nr : {SYS_sendto, SYS_sendmsg, SYS_pwritev2}) faults.on(nr).at_most(3);
        for (const long nr : {SYS_recvfrom, SYS_preadv2}) faults.on(nr).at_most(4);
        CHECK(write_text(pair.theirs, "ten bytes!") == 10);
        CHECK(read_some(pair.ours) == "ten ");
        CHECK(read_some(pair.ours) == "byte");
        CHECK(read_some(pair.ours) == "s!");
        char a[] = "gather", b[] = "ed";
        const iovec two[] = {{a, 6}, {b, 2}};
        CHECK(make_call(SYS_writev, pair.theirs, two, 2) == 8);
        std::string got = read_some(pair.ours);
        got += read_some(pair.ours);
        CHECK(got == "gathered");
      }
    });
  }

  TEST_CASE("MSG_WAITALL goes on after a short count, and shows what came before an error") {
    in_runtime([] {
      const ends pair = socket_pair();
      write_text(pair.theirs, "0123456789");
      char all[10] = {};
      fault_plan faults;
      faults.on(SYS_recvmsg).calls(1, 3).at_most(2);
      CHECK(make_call(SYS_recvfrom, pair.ours, all, 8, MSG_WAITALL, nullptr, nullptr) == 8);
      CHECK(std::string(all, 8) == "01234567");
      faults.on(SYS_recvmsg).call(5).at_most(1);
      faults.on(SYS_recvmsg).call(6).fail_with(ECONNRESET);
      CHECK(make_call(SYS_recvfrom, pair.ours, all, 8, MSG_WAITALL, nullptr, nullptr) == 1);
    });
  }

  TEST_CASE("a late answer holds up the caller alone") {
    on_workers([] {
      const ends pair = socket_pair();
      write_text(pair.theirs, "late");
      fault_plan faults;
      int others = 0;
      faults.on(SYS_recvfrom).call(1).first([] { bide::sleep_for(std::chrono::milliseconds(5)); });
      auto counts = bide::spawn([&] {
        for (; others < 3; ++others) bide::sleep_for(std::chrono::microseconds(100));
      });
      CHECK(read_some(pair.ours) == "late");
      counts.join();
      CHECK(others == 3);
    });
  }
}
