// How far a deadline and a cancel reach: into every call of libc's that waits.
#include "support.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <threads.h>
#include <wchar.h>

#include <functional>
#include <vector>

using namespace api;

namespace {

// ThreadSanitizer isn't told of C11's threads.
__attribute__((no_sanitize_thread)) int until_posted(void* s) { return sem_wait(static_cast<sem_t*>(s)); }

// One of whose calls waits, whoever makes it: with nothing to read, no room, nobody who comes.
struct scene {
  int silent[2], full[2], pipe_silent[2], pipe_full[2], listener, busy, set, counter, lock, held;
  mqd_t none, all;
  int messages, semaphores;
  pid_t child;
  sockaddr_in here{}, there{};
  sem_t never;
  pthread_t thread;
  thrd_t c11;
  FILE *in, *out, *buffered, *wide_in;

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
    sem_init(&never, 0, 0);
    sem_init(&ends_, 0, 0);
    const auto until_end = [](void* s) -> void* { return sem_wait(static_cast<sem_t*>(s)), nullptr; };
    REQUIRE(pthread_create(&thread, nullptr, until_end, &ends_) == 0);
    REQUIRE(thrd_create(&c11, until_posted, &ends_) == thrd_success);
    in = fdopen(dup(silent[0]), "r");
    out = fdopen(dup(pipe_full[1]), "w");
    buffered = fdopen(dup(pipe_full[1]), "w");
    wide_in = fdopen(dup(silent[0]), "r");
    setvbuf(out, nullptr, _IONBF, 0);
    CHECK(fputs("pending", buffered) >= 0);
    // A file of names for other hosts, which glibc opens in each look-up of a name without a dot, and nobody writes.
    char folder[] = "/tmp/bide-reach-XXXXXX";
    REQUIRE(mkdtemp(folder));
    folder_ = folder;
    REQUIRE(mkfifo((folder_ + "/hosts").c_str(), 0600) == 0);
    setenv("HOSTALIASES", (folder_ + "/hosts").c_str(), 1);
  }
  ~scene() {
    unsetenv("HOSTALIASES");
    // Whoever is in its open still goes on.
    const int end = open((folder_ + "/hosts").c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    usleep(10'000);
    close(end);
    unlink((folder_ + "/hosts").c_str());
    rmdir(folder_.c_str());
    sem_post(&ends_), sem_post(&ends_);
    CHECK(pthread_join(thread, nullptr) == 0);
    CHECK(thrd_join(c11, nullptr) == thrd_success);
    // What was not flushed is all there.
    CHECK(__fpending(buffered) == 7);
    __fpurge(buffered);
    for (FILE* f : {in, out, buffered, wide_in}) fclose(f);
    CHECK(sem_trywait(&never) == -1);
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
  sem_t ends_;
  std::string folder_;
};

struct waiting_call {
  std::string name;
  std::function<long(scene&)> make;  // -1 and errno
  bool throws = true;                // not where libc's header says that it never does
};

constexpr timespec an_hour_on(time_t now) { return {now + 3600, 0}; }

long no_name(int answer) { return answer == EAI_SYSTEM ? -1 : 0; }
template <class T>
long no_pointer(T* found) { return found ? 0 : -1; }

long wide(wint_t c) { return c == WEOF ? -1 : 0; }
// One for each call: what goes to a wide stream without a buffer that has failed once, glibc 2.36 writes beyond its end.
struct wide_out {
  explicit wide_out(scene& s) : it(fdopen(dup(s.pipe_full[1]), "w")) { setvbuf(it, nullptr, _IONBF, 0); }
  ~wide_out() {
    const int error = errno;
    __fpurge(it);
    fclose(it);
    errno = error;
  }
  FILE* const it;
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
    {"sem_wait", [](scene& s) { return long{sem_wait(&s.never)}; }},
    {"sem_timedwait", [](scene& s) { const timespec t = an_hour_on(time(nullptr)); return long{sem_timedwait(&s.never, &t)}; }},
    {"sem_clockwait", [](scene& s) { const timespec t = an_hour_on(time(nullptr)); return long{sem_clockwait(&s.never, CLOCK_REALTIME, &t)}; }},
    {"pthread_join", [](scene& s) { return by_code(pthread_join(s.thread, nullptr)); }},
    {"pthread_timedjoin_np", [](scene& s) { const timespec t = an_hour_on(time(nullptr)); return by_code(pthread_timedjoin_np(s.thread, nullptr, &t)); }},
    {"pthread_clockjoin_np", [](scene& s) { const timespec t = an_hour_on(time(nullptr)); return by_code(pthread_clockjoin_np(s.thread, nullptr, CLOCK_REALTIME, &t)); }},
    {"thrd_join", [](scene& s) { return thrd_join(s.c11, nullptr) == thrd_error ? -1L : 0L; }},
    {"system", [](scene&) { return long{system("exec sleep 1000")}; }},
    {"fread", [](scene& s) { bytes b; return fread(b.room, 1, 8, s.in) ? 0L : -1L; }},
    {"fgets", [](scene& s) { bytes b; return no_pointer(fgets(b.room, 8, s.in)); }},
    {"getline", [](scene& s) {
      clearerr(s.in);  // it reads no stream that has failed
      char* line = nullptr;
      size_t room = 0;
      struct letting_go {
        char*& line;
        ~letting_go() { free(line); }
      } at_end{line};
      return getline(&line, &room, s.in);
    }},
    {"getc", [](scene& s) { return long{getc(s.in)}; }},
    {"fscanf", [](scene& s) { int n; return long{fscanf(s.in, "%d", &n)}; }},
    {"fwrite", [](scene& s) { bytes b; return fwrite(b.room, 1, 8, s.out) ? 0L : -1L; }},
    {"putc", [](scene& s) { return long{putc('x', s.out)}; }},
    {"fputs", [](scene& s) { return long{fputs("text", s.out)}; }},
    {"fprintf", [](scene& s) { return long{fprintf(s.out, "%d", 5)}; }},
    {"dprintf", [](scene& s) { return long{dprintf(s.pipe_full[1], "%d", 5)}; }},
    {"fgetwc", [](scene& s) { return wide(fgetwc(s.wide_in)); }},
    {"fgetws", [](scene& s) { wchar_t line[8]; return no_pointer(fgetws(line, 8, s.wide_in)); }},
    {"fwscanf", [](scene& s) { int n; return long{fwscanf(s.wide_in, L"%d", &n)}; }},
    {"fputwc", [](scene& s) { return wide(fputwc(L'x', wide_out(s).it)); }},
    {"fputws", [](scene& s) { return long{fputws(L"text", wide_out(s).it)}; }},
    {"fwprintf", [](scene& s) { return long{fwprintf(wide_out(s).it, L"%d", 5)}; }},
    {"fflush", [](scene& s) { return long{fflush(s.buffered)}; }},
    {"getaddrinfo", [](scene&) {
      addrinfo* found = nullptr;
      return no_name(getaddrinfo("nowhere", "http", nullptr, &found));
    }},
    {"gethostbyname", [](scene&) { return no_pointer(gethostbyname("nowhere")); }},
    {"gethostbyname2", [](scene&) { return no_pointer(gethostbyname2("nowhere", AF_INET6)); }},
    {"gethostbyname_r", [](scene&) {
      hostent to, *found;
      char room[1024];
      int error;
      return by_code(gethostbyname_r("nowhere", &to, room, sizeof room, &found, &error));
    }},
    {"gethostbyname2_r", [](scene&) {
      hostent to, *found;
      char room[1024];
      int error;
      return by_code(gethostbyname2_r("nowhere", AF_INET, &to, room, sizeof room, &found, &error));
    }},
    {"syscall", [](scene& s) { bytes b; return syscall(SYS_read, s.silent[0], b.room, 8); }, !noexcept(syscall(0))},
};

// ThreadSanitizer makes these within its own, where it ignores whatever orders the runtime's accesses, or where no exception passes.
bool unseen(const waiting_call& c) {
  return tsan && (c.name.starts_with("sem_") || c.name.find("join") != std::string::npos || c.name == "getaddrinfo");
}

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
          if (unseen(c)) continue;
          CAPTURE(c.name);
          // In a fiber that is not the first: it alone is told of the process's signals.
          bide::spawn([&] {
            bide::timeout limit(3ms);
            const auto [answer, error] = of(c, s);
            CAPTURE(c.name);
            CHECK(answer == -1);
            CHECK(error == ETIMEDOUT);
          }).get();
          auto cancelled = bide::spawn([&] {
            const auto [answer, error] = of(c, s);
            CAPTURE(c.name);
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
        if (unseen(c)) continue;
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

  TEST_CASE("who is ended has taken nothing: the semaphore, the thread and what was read and written are the next one's") {
    if (tsan) {
      MESSAGE("skipped: ThreadSanitizer makes these waits within its own");
      return;
    }
    on_workers([] {
      sem_t count;
      sem_init(&count, 0, 0);
      auto first = bide::spawn([&] { return sem_wait(&count); });
      auto second = bide::spawn([&] { return sem_wait(&count); });
      until_parked(first), until_parked(second);
      usleep(10'000);  // on their threads, in the kernel
      first.cancel();
      CHECK(first.get() == -1);
      sem_post(&count);
      CHECK(second.get() == 0);
      CHECK(sem_trywait(&count) == -1);
      {
        bide::timeout past(-1s);
        CHECK(sem_wait(&count) == -1);
        CHECK(errno == ETIMEDOUT);
        sem_post(&count);
        CHECK(sem_wait(&count) == 0);  // needs no wait
      }

      sem_t ends;
      sem_init(&ends, 0, 0);
      pthread_t thread;
      REQUIRE(pthread_create(&thread, nullptr, [](void* s) -> void* { return sem_wait(static_cast<sem_t*>(s)), s; }, &ends) == 0);
      void* result = nullptr;
      const timespec later = an_hour_on(time(nullptr));
      {
        bide::timeout limit(3ms);
        CHECK(pthread_timedjoin_np(thread, &result, &later) == ETIMEDOUT);
      }
      CHECK(!result);
      sem_post(&ends);
      CHECK(pthread_timedjoin_np(thread, &result, &later) == 0);
      CHECK(result == &ends);

      int pair[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
      FILE *const in = fdopen(pair[0], "r"), *const wide_in = fdopen(dup(pair[0]), "r");
      char room[16] = "";
      wchar_t wide_room[16] = L"";
      // Cancelled when it has read what is there, and waits for more.
      const auto cut = [&](FILE* from, auto call) {
        auto reads = bide::spawn([&, from] {
          errno = 0;
          const auto answer = call();
          CHECK(errno == ECANCELED);
          CHECK(ferror(from));
          CHECK(!feof(from));
          return answer;
        });
        for (int left = 1; left; usleep(1000)) REQUIRE(ioctl(pair[0], FIONREAD, &left) == 0);
        reads.cancel();
        return reads.get();
      };
      CHECK(write(pair[1], "abc", 3) == 3);
      CHECK(cut(in, [&] { return fread(room, 1, 5, in); }) == 3);
      CHECK(write(pair[1], "part", 4) == 4);
      CHECK(cut(in, [&] { return fgets(room, sizeof room, in); }) == room);
      CHECK(std::string(room) == "part");
      CHECK(write(pair[1], " of\nnext\n", 9) == 9);
      CHECK(fgets(room, sizeof room, in) == room);
      CHECK(std::string(room) == " of\n");
      CHECK(fgets(room, sizeof room, in) == room);
      CHECK(std::string(room) == "next\n");
      CHECK(write(pair[1], "part", 4) == 4);
      CHECK(cut(wide_in, [&] { return fgetws(wide_room, 16, wide_in); }) == wide_room);
      CHECK(std::wstring(wide_room) == L"part");
      CHECK(write(pair[1], " of\nnext\n", 9) == 9);
      CHECK(fgetws(wide_room, 16, wide_in) == wide_room);
      CHECK(std::wstring(wide_room) == L" of\n");
      CHECK(fgetwc(wide_in) == L'n');
      fclose(in);
      fclose(wide_in);
      close(pair[1]);
    });
  }

  TEST_CASE("what a stream has taken is written when there is room, though a flush and a write were ended") {
    bide::run([] {
      int ends[2];
      REQUIRE(pipe(ends) == 0);
      const std::string filling(static_cast<std::size_t>(fcntl(ends[1], F_GETPIPE_SZ)), 'x');
      REQUIRE(write(ends[1], filling.data(), filling.size()) == static_cast<ssize_t>(filling.size()));
      FILE* const out = fdopen(dup(ends[1]), "w");
      setvbuf(out, nullptr, _IOLBF, 0);
      CHECK(fputs("begun, ", out) >= 0);
      {
        bide::timeout limit(3ms);
        CHECK(fflush(out) == EOF);
        CHECK(errno == ETIMEDOUT);
        CHECK(ferror(out));
        CHECK(fputs("and lost\n", out) == EOF);
      }
      auto reads = bide::spawn([&] {
        std::string got(filling.size() + 12, ' ');
        for (std::size_t done = 0; done < got.size();) {
          const ssize_t n = read(ends[0], got.data() + done, got.size() - done);
          if (n <= 0) break;
          done += static_cast<std::size_t>(n);
        }
        return got;
      });
      CHECK(fputs("done\n", out) == 1);
      CHECK(reads.get() == filling + "begun, done\n");
      CHECK(fclose(out) == 0);
      close(ends[0]), close(ends[1]);
    });
  }

  TEST_CASE("a stream that another reads from is not waited for any longer than allowed") {
    on_workers([] {
      int ends[2];
      REQUIRE(pipe(ends) == 0);
      FILE* const in = fdopen(ends[0], "r");
      auto reads = bide::spawn([&] { return getc(in); });
      until_parked(reads);
      usleep(5000);
      {
        bide::timeout limit(3ms);
        CHECK(getc(in) == EOF);
        CHECK(errno == ETIMEDOUT);
      }
      CHECK(write(ends[1], "a", 1) == 1);
      CHECK(reads.get() == 'a');
      fclose(in);
      close(ends[1]);
    });
  }

  // As when a thread is cancelled that waits in system(3): its child is killed and waited for.
  TEST_CASE("the program of a system() that is ended is no more; that of a pclose() ends by itself") {
    on_workers([] {
      char name[] = "/tmp/bide-reach-XXXXXX";
      const int file = mkstemp(name);
      REQUIRE(file >= 0);
      struct stat s;
      auto runs = bide::spawn([&] { return system(("echo $$ >>" + std::string(name) + "; exec sleep 1000").c_str()); });
      do REQUIRE(fstat(file, &s) == 0);
      while (s.st_size == 0 && usleep(1000) == 0);
      char number[16] = "";
      CHECK(pread(file, number, sizeof number - 1, 0) > 0);
      runs.cancel();
      CHECK(runs.get() == -1);
      CHECK(kill(atoi(number), 0) == -1);
      CHECK(errno == ESRCH);

      FILE* const program = popen(("sleep 0.2; echo ended >>" + std::string(name)).c_str(), "w");
      {
        bide::timeout past(-1s);
        CHECK(pclose(program) == -1);
        CHECK(errno == ETIMEDOUT);
      }
      const off_t before = s.st_size;
      do REQUIRE(fstat(file, &s) == 0);
      while (s.st_size == before && usleep(1000) == 0);
      siginfo_t ended{};  // its shell ends, and is waited for
      while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0) usleep(1000);
      CHECK(errno == ECHILD);
      close(file);
      unlink(name);
    });
  }

  // POSIX: neither a mutex nor a barrier is a cancellation point.
  TEST_CASE("a wait for a mutex, a lock for writing or a barrier is not ended, and the next wait is told") {
    if (tsan) {
      MESSAGE("skipped: ThreadSanitizer makes these waits within its own");
      return;
    }
    bide::run([] {
      pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
      pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
      pthread_barrier_t barrier;
      pthread_barrier_init(&barrier, nullptr, 2);
      const auto comes_through = [](auto wait, auto give) {
        auto t = bide::spawn([&] {
          const int answer = wait();
          return answer <= 0 && usleep(2'000'000) == -1 && errno == ECANCELED && usleep(10) == 0;
        });
        until_parked(t);
        t.cancel();
        usleep(5000);
        CHECK(!t.done());
        give();
        CHECK(t.get());
      };
      pthread_mutex_lock(&mutex);
      comes_through([&] {
        const int error = pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
        return error;
      }, [&] { pthread_mutex_unlock(&mutex); });
      pthread_rwlock_rdlock(&shared);
      comes_through([&] {
        const int error = pthread_rwlock_wrlock(&shared);
        pthread_rwlock_unlock(&shared);
        return error;
      }, [&] { pthread_rwlock_unlock(&shared); });
      comes_through([&] { return pthread_barrier_wait(&barrier); }, [&] { pthread_barrier_wait(&barrier); });
      pthread_barrier_destroy(&barrier);
    });
  }
}
