// How far a deadline and a cancel reach: into every call of libc's that waits.
#include "support.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <threads.h>

#include <functional>
#include <vector>

using namespace api;

namespace {

// One of whose calls waits, whoever makes it: with nothing to read, no room, nobody who comes.
struct scene {
  int silent[2], full[2], pipe_silent[2], pipe_full[2], listener, busy, set, counter, lock, held;
  mqd_t none, all;
  int messages, semaphores;
  pid_t child;
  sockaddr_in here{}, there{};

  static int listen_on(sockaddr_in& at, int backlog) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {}};
    socklen_t size = sizeof at;
    REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&at), size) == 0);
    REQUIRE(listen(fd, backlog) == 0);
    REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0);
    return fd;
  }
  static mqd_t queue(bool fill) {
    const std::string name = "/bide-reach-" + std::to_string(getpid());
    mq_attr how{};
    how.mq_maxmsg = 1;
    how.mq_msgsize = 8;
    const mqd_t q = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, &how);
    REQUIRE(q != -1);
    mq_unlink(name.c_str());
    if (fill) REQUIRE(mq_send(q, "x", 1, 0) == 0);
    return q;
  }

  scene() {
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, silent) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, full) == 0);
    REQUIRE(pipe(pipe_silent) == 0);
    REQUIRE(pipe(pipe_full) == 0);
    const std::string much(1 << 20, 'x');
    while (send(full[0], much.data(), much.size(), MSG_DONTWAIT) > 0) {
    }
    while (send(full[0], "x", 1, MSG_DONTWAIT) > 0) {
    }
    const int size = fcntl(pipe_full[1], F_GETPIPE_SZ);
    REQUIRE(write(pipe_full[1], much.data(), static_cast<std::size_t>(size)) == size);
    listener = listen_on(here, 1);
    // A backlog that is full: who connects now waits.
    busy = listen_on(there, 0);
    for (int i = 0; i < 4; ++i) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      connect(fd, reinterpret_cast<sockaddr*>(&there), sizeof there);
      callers.push_back(fd);
    }
    set = epoll_create1(EPOLL_CLOEXEC);
    epoll_event e{EPOLLIN, {}};
    REQUIRE(epoll_ctl(set, EPOLL_CTL_ADD, silent[0], &e) == 0);
    counter = eventfd(0, EFD_CLOEXEC);
    char name[] = "/tmp/bide-reach-XXXXXX";
    held = mkstemp(name);
    REQUIRE(held >= 0);
    lock = open(name, O_RDWR | O_CLOEXEC);
    unlink(name);
    struct flock whole{};
    whole.l_type = F_WRLCK;
    REQUIRE(flock(held, LOCK_EX) == 0);
    REQUIRE(fcntl(held, F_OFD_SETLK, &whole) == 0);
    none = queue(false);
    all = queue(true);
    messages = msgget(IPC_PRIVATE, 0600);
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    REQUIRE(messages >= 0);
    REQUIRE(semaphores >= 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) syscall(SYS_pause);
    }
  }
  ~scene() {
    kill(child, SIGKILL);
    syscall(SYS_wait4, child, nullptr, 0, nullptr);
    msgctl(messages, IPC_RMID, nullptr);
    semctl(semaphores, 0, IPC_RMID);
    for (int fd : {silent[0], silent[1], full[0], full[1], pipe_silent[0], pipe_silent[1], pipe_full[0], pipe_full[1],
                   listener, busy, set, counter, lock, held, static_cast<int>(none), static_cast<int>(all)})
      close(fd);
    for (int fd : callers) close(fd);
  }

 private:
  std::vector<int> callers;
};

struct waiting_call {
  const char* name;
  std::function<long(scene&)> make;  // -1 and errno
  bool throws = true;                // not where libc's header says that it never does
};

long by_code(int error) { return error ? (errno = error, -1) : 0; }

struct bytes {
  char room[8] = "1234567";
  iovec v{room, 8};
  mmsghdr m{};
  bytes() {
    m.msg_hdr.msg_iov = &v;
    m.msg_hdr.msg_iovlen = 1;
  }
};

const std::vector<waiting_call> calls{
    {"read", [](scene& s) { bytes b; return read(s.silent[0], b.room, 8); }},
    {"read of a pipe", [](scene& s) { bytes b; return read(s.pipe_silent[0], b.room, 8); }},
    {"readv", [](scene& s) { bytes b; return readv(s.silent[0], &b.v, 1); }},
    {"recv", [](scene& s) { bytes b; return recv(s.silent[0], b.room, 8, 0); }},
    {"recv of all", [](scene& s) { bytes b; return recv(s.silent[0], b.room, 8, MSG_WAITALL); }},
    {"recvfrom", [](scene& s) { bytes b; return recvfrom(s.silent[0], b.room, 8, 0, nullptr, nullptr); }},
    {"recvmsg", [](scene& s) { bytes b; return recvmsg(s.silent[0], &b.m.msg_hdr, 0); }},
    {"recvmmsg", [](scene& s) { bytes b; return long{recvmmsg(s.silent[0], &b.m, 1, 0, nullptr)}; }},
    {"write", [](scene& s) { bytes b; return write(s.full[0], b.room, 8); }},
    {"write to a pipe", [](scene& s) { bytes b; return write(s.pipe_full[1], b.room, 8); }},
    {"writev", [](scene& s) { bytes b; return writev(s.full[0], &b.v, 1); }},
    {"send", [](scene& s) { bytes b; return send(s.full[0], b.room, 8, 0); }},
    {"sendto", [](scene& s) { bytes b; return sendto(s.full[0], b.room, 8, 0, nullptr, 0); }},
    {"sendmsg", [](scene& s) { bytes b; return sendmsg(s.full[0], &b.m.msg_hdr, 0); }},
    {"sendmmsg", [](scene& s) { bytes b; return long{sendmmsg(s.full[0], &b.m, 1, 0)}; }},
    {"accept", [](scene& s) { return long{accept(s.listener, nullptr, nullptr)}; }},
    {"accept4", [](scene& s) { return long{accept4(s.listener, nullptr, nullptr, SOCK_CLOEXEC)}; }},
    {"connect", [](scene& s) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      struct closer {
        int fd;
        ~closer() {
          const int error = errno;
          close(fd);
          errno = error;
        }
      } at_end{fd};
      return long{connect(fd, reinterpret_cast<sockaddr*>(&s.there), sizeof s.there)};
    }},
    {"poll", [](scene& s) { pollfd p{s.silent[0], POLLIN, 0}; return long{poll(&p, 1, -1)}; }},
    {"poll of nothing", [](scene&) { return long{poll(nullptr, 0, 3'600'000)}; }},
    {"ppoll", [](scene& s) { pollfd p{s.silent[0], POLLPRI, 0}; return long{ppoll(&p, 1, nullptr, nullptr)}; }},
    {"select", [](scene& s) {
      fd_set in;
      FD_ZERO(&in);
      FD_SET(s.silent[0], &in);
      return long{select(s.silent[0] + 1, &in, nullptr, nullptr, nullptr)};
    }},
    {"pselect", [](scene& s) {
      fd_set in;
      FD_ZERO(&in);
      FD_SET(s.silent[0], &in);
      return long{pselect(s.silent[0] + 1, &in, nullptr, nullptr, nullptr, nullptr)};
    }},
    {"epoll_wait", [](scene& s) { epoll_event e; return long{epoll_wait(s.set, &e, 1, -1)}; }},
    {"epoll_pwait", [](scene& s) { epoll_event e; return long{epoll_pwait(s.set, &e, 1, -1, nullptr)}; }},
    {"epoll_pwait2", [](scene& s) { epoll_event e; return long{epoll_pwait2(s.set, &e, 1, nullptr, nullptr)}; }},
    {"eventfd_read", [](scene& s) { eventfd_t n; return long{eventfd_read(s.counter, &n)}; }},
    {"splice", [](scene& s) { return splice(s.pipe_silent[0], nullptr, s.full[0], nullptr, 8, 0); }},
    {"tee", [](scene& s) { return tee(s.pipe_silent[0], s.pipe_full[1], 8, 0); }},
    {"vmsplice", [](scene& s) { bytes b; return vmsplice(s.pipe_full[1], &b.v, 1, 0); }},
    {"sendfile", [](scene& s) {
      CHECK(ftruncate(s.held, 100) == 0);
      off_t at = 0;
      return sendfile(s.full[0], s.held, &at, 100);
    }, !noexcept(sendfile(0, 0, nullptr, 0))},
    {"flock", [](scene& s) { return long{flock(s.lock, LOCK_EX)}; }, !noexcept(flock(0, 0))},
    {"lockf", [](scene& s) { return long{lockf(s.lock, F_LOCK, 0)}; }},
    {"fcntl", [](scene& s) {
      struct flock whole{};
      whole.l_type = F_WRLCK;
      return long{fcntl(s.lock, F_OFD_SETLKW, &whole)};
    }},
    {"waitpid", [](scene& s) { return long{waitpid(s.child, nullptr, 0)}; }},
    {"wait4", [](scene& s) { return long{wait4(s.child, nullptr, 0, nullptr)}; }},
    {"wait", [](scene&) { return long{wait(nullptr)}; }},
    {"waitid", [](scene& s) { siginfo_t i; return long{waitid(P_PID, static_cast<id_t>(s.child), &i, WEXITED)}; }},
    {"pause", [](scene&) { return long{pause()}; }},
    {"sigsuspend", [](scene&) { sigset_t none; sigemptyset(&none); return long{sigsuspend(&none)}; }},
    {"sigwaitinfo", [](scene&) { sigset_t usr; sigemptyset(&usr); sigaddset(&usr, SIGUSR2); return long{sigwaitinfo(&usr, nullptr)}; }},
    {"sigwait", [](scene&) { sigset_t usr; int n; sigemptyset(&usr); sigaddset(&usr, SIGUSR2); return by_code(sigwait(&usr, &n)); }},
    {"mq_receive", [](scene& s) { bytes b; return mq_receive(s.none, b.room, 8, nullptr); }},
    {"mq_send", [](scene& s) { return long{mq_send(s.all, "y", 1, 0)}; }},
    {"msgrcv", [](scene& s) { struct { long type; char text[8]; } m; return msgrcv(s.messages, &m, 8, 0, 0); }},
    {"semop", [](scene& s) { sembuf down{0, -1, 0}; return long{semop(s.semaphores, &down, 1)}; }, !noexcept(semop(0, nullptr, 0))},
    {"usleep", [](scene&) { return long{usleep(999'999)}; }},
    {"nanosleep", [](scene&) { const timespec t{3600, 0}; return long{nanosleep(&t, nullptr)}; }},
    {"clock_nanosleep", [](scene&) { const timespec t{3600, 0}; return by_code(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, nullptr)); }},
    {"sleep", [](scene&) { return sleep(3600) > 0 ? -1L : 0L; }},
    {"syscall", [](scene& s) { bytes b; return syscall(SYS_read, s.silent[0], b.room, 8); }, !noexcept(syscall(0))},
};

struct end {
  long answer;
  int error;
};
end of(const waiting_call& c, scene& s) {
  errno = 0;
  const long answer = c.make(s);
  return {answer, errno};
}

}  // namespace

TEST_SUITE("api/reach") {
  // asyncio reaches what is awaited; a blocking call holds up its loop, and neither timeout() nor cancel() gets there.
  TEST_CASE("a deadline ends every call with ETIMEDOUT, and a cancel every one with ECANCELED, once") {
    scene s;
    for (const unsigned workers : {1u, 2u}) {
      bide::run([&] {
        for (const waiting_call& c : calls) {
          CAPTURE(c.name);
          // In a fiber that is not the first: it alone is told of the process's signals.
          bide::spawn([&] {
            bide::timeout limit(3ms);
            const auto [answer, error] = of(c, s);
            CHECK(answer == -1);
            CHECK(error == ETIMEDOUT);
          }).get();
          auto cancelled = bide::spawn([&] {
            const auto [answer, error] = of(c, s);
            CHECK(answer == -1);
            CHECK(error == ECANCELED);
            CHECK(usleep(10) == 0);
          });
          until_parked(cancelled);
          cancelled.cancel();
          cancelled.get();
        }
      }, {.workers = workers});
    }
  }

  TEST_CASE("in the first fiber a deadline ends what waits for a signal as well") {
    bide::run([] {
      bide::timeout limit(3ms);
      CHECK(pause() == -1);
      CHECK(errno == ETIMEDOUT);
      sigset_t none;
      sigemptyset(&none);
      CHECK(sigsuspend(&none) == -1);
      CHECK(errno == ETIMEDOUT);
    });
  }

  // pthread_cancel(3): the frames of a cancelled thread are unwound, and their destructors run.
  TEST_CASE("where it is asked for, a call that is ended from outside unwinds, whichever it is") {
    scene s;
    bide::run([&] {
      for (const waiting_call& c : calls) {
        CAPTURE(c.name);
        int unwound = 0;
        struct note {
          int& n;
          ~note() { ++n; }
        };
        const bide::spawn_options unwinding{.libc_calls = bide::ended_call::unwinds};
        auto cancelled = bide::spawn(unwinding, [&] {
          const note at_end{unwound};
          c.make(s);
          CHECK(!c.throws);
        });
        until_parked(cancelled);
        cancelled.cancel();
        if (c.throws)
          CHECK_THROWS_AS(cancelled.get(), bide::cancelled);
        else
          cancelled.get();
        auto late = bide::spawn(unwinding, [&] {
          bide::timeout limit(3ms);
          const note at_end{unwound};
          c.make(s);
          CHECK(!c.throws);
        });
        if (c.throws)
          CHECK_THROWS_AS(late.get(), bide::timed_out);
        else
          late.get();
        CHECK(unwound == 2);
      }
    });
  }
}
