// Calls past libc's names: instructions of a library's own (raw_calls.c), with options::trap.
#include "support.hpp"

#include <bide/bide.h>

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <linux/futex.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "raw_calls.h"

using namespace api;

namespace {

template <class T>
long word(T value) {
  if constexpr (std::is_pointer_v<T>) return reinterpret_cast<long>(value);
  else if constexpr (std::is_null_pointer_v<T>) return 0;
  else return static_cast<long>(value);
}

template <class... Args>
long raw(long nr, Args... args) {
  const long a[6] = {word(args)...};
  return raw_call(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

long raw_sleep(std::chrono::nanoseconds length) {
  const timespec t{static_cast<time_t>(length / 1s), static_cast<long>((length % 1s).count())};
  return raw(SYS_nanosleep, &t, nullptr);
}

bide::options trapping(unsigned workers = 1) { return {.workers = workers, .trap = bide::trap_door::on}; }

template <class F>
void on_trapping_workers(F f) {
  for (const unsigned workers : {1u, 3u}) {
    CAPTURE(workers);
    bide::run(f, trapping(workers));
  }
}

struct channel {
  channel() { REQUIRE(pipe(ends) == 0); }
  ~channel() { close(ends[0]), close(ends[1]); }
  long read(char& byte) { return raw(SYS_read, ends[0], &byte, 1); }
  long write(char byte) { return raw(SYS_write, ends[1], &byte, 1); }
  int ends[2];
};

// How long three who sleep 30 ms take beside each other, in multiples of that.
int rounds_of_sleepers() {
  const auto start = std::chrono::steady_clock::now();
  {
    bide::group all;
    for (int i = 0; i < 3; ++i) all.spawn([] { raw_sleep(30ms); });
  }
  return static_cast<int>(seconds_since(start) / 0.03);
}

using body = std::function<void()>;
using both = void (*)(body, body);
void on_threads(body one, body other) {
  std::thread first(one), second(other);
  first.join();
  second.join();
}
void in_fibers(body one, body other) {
  bide::group all;
  all.spawn(one);
  all.spawn(other);
  all.wait();
}

// What two parties' raw calls come to, who wait for each other in all ways.
std::vector<long> told_by_two(both beside) {
  std::vector<long> a, b;
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  REQUIRE(listen(listener, 5) == 0);
  REQUIRE(getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size) == 0);
  const int set = epoll_create1(0);
  int never_woken = 0;
  std::atomic<int> turn{0};
  beside(
      [&] {
        char text[64] = {};
        a.push_back(raw(SYS_read, ends[0], text, sizeof text));  // waits for "hello"
        a.push_back(text[4]);
        a.push_back(raw(SYS_write, ends[0], "thanks", 6));
        const long made = raw(SYS_accept4, listener, nullptr, nullptr, SOCK_CLOEXEC);
        a.push_back(made > 0);
        a.push_back(raw(SYS_recvfrom, made, text, sizeof text, 0, nullptr, nullptr));
        epoll_event e{EPOLLIN, {.u64 = 7}};
        a.push_back(raw(SYS_epoll_ctl, set, EPOLL_CTL_ADD, ends[0], &e));
        a.push_back(raw(SYS_epoll_wait, set, &e, 1, 10));  // nothing comes
        turn = 1;
        a.push_back(raw(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1) >= 0);
        a.push_back(raw(SYS_epoll_wait, set, &e, 1, -1));
        a.push_back(static_cast<long>(e.data.u64));
        a.push_back(raw(SYS_close, made));
      },
      [&] {
        char text[64] = {};
        pollfd p{ends[1], POLLIN, 0};
        b.push_back(raw(SYS_poll, &p, 1, 10));  // nothing comes
        b.push_back(raw_sleep(5ms));
        b.push_back(raw(SYS_write, ends[1], "hello", 5));
        b.push_back(raw(SYS_poll, &p, 1, -1));
        b.push_back(p.revents);
        b.push_back(raw(SYS_read, ends[1], text, sizeof text));
        b.push_back(raw_sleep(5ms));
        b.push_back(raw(SYS_connect, client, &at, sizeof at));
        b.push_back(raw_sleep(5ms));
        b.push_back(raw(SYS_sendto, client, "there", 5, 0, nullptr, 0));
        const timespec some{0, 10'000'000};
        b.push_back(raw(SYS_futex, &never_woken, FUTEX_WAIT_PRIVATE, 1, nullptr));  // it holds another value
        b.push_back(raw(SYS_futex, &never_woken, FUTEX_WAIT_PRIVATE, 0, &some));
        while (turn == 0) raw(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 0, nullptr);
        b.push_back(raw(SYS_write, ends[1], "again", 5));
        const timeval limit{0, 10'000};
        setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        b.push_back(raw(SYS_read, ends[1], text, sizeof text));
        b.push_back(raw(SYS_read, -1, text, 1));
        b.push_back(raw(SYS_write, ends[1], nullptr, 5));
        b.push_back(raw(SYS_nanosleep, nullptr, nullptr));
        b.push_back(raw(100'000));
      });
  for (const int fd : {ends[0], ends[1], listener, client, set}) close(fd);
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Makes calls of both kinds, which would kill if SIGSYS were blocked.
std::atomic<int> handled{0};
void call_much(int) {
  raw(SYS_getpid);
  raw_sleep(1ms);
  char name[16];
  pthread_getname_np(pthread_self(), name, sizeof name);
  getppid();
  ++handled;
}

void handle(int number, void (*function)(int), int flags = 0) {
  struct sigaction a {};
  a.sa_handler = function;
  a.sa_flags = flags;
  sigfillset(&a.sa_mask);
  REQUIRE(sigaction(number, &a, nullptr) == 0);
}

int status_of(pid_t child) {
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

sigjmp_buf way_out;

// doctest's macros are not for a child that has no other way to tell.
int works(bool condition) { return condition ? 0 : 1; }

}  // namespace

TEST_SUITE("api/trap" * doctest::skip(sanitized)) {
  TEST_CASE("fifty who sleep by an instruction of their own sleep beside each other") {
    on_trapping_workers([] {
      const auto start = std::chrono::steady_clock::now();
      {
        bide::group all;
        for (int i = 0; i < 50; ++i) all.spawn([] { CHECK(raw_sleep(100ms) == 0); });
      }
      const double took = seconds_since(start);
      CHECK(took >= 0.1);
      CHECK(took < 1);
    });
  }

  TEST_CASE("without it such a call holds its worker, as ever; BIDE_TRAP and the C API ask for it too") {
    bide::run([] { CHECK(rounds_of_sleepers() >= 3); }, {.trap = bide::trap_door::off});
    bide::run([] { CHECK(rounds_of_sleepers() >= 3); });
    setenv("BIDE_TRAP", "1", 1);
    bide::run([] { CHECK(rounds_of_sleepers() < 3); });
    bide::run([] { CHECK(rounds_of_sleepers() >= 3); }, {.trap = bide::trap_door::off});
    unsetenv("BIDE_TRAP");
    const auto rounds = [](void*) { return rounds_of_sleepers(); };
    bide_options how{};
    how.trap = 1;
    int result = -1;
    CHECK(bide_run(&how, rounds, nullptr, &result) == 0);
    CHECK(result < 3);
  }

  TEST_CASE("what two tell each other by such calls is the same on threads and in fibers") {
    const std::vector<long> natively = told_by_two(on_threads);
    on_trapping_workers([&] { CHECK(told_by_two(in_fibers) == natively); });
  }

  TEST_CASE("all that the instruction keeps is kept over a park") {
    on_trapping_workers([] {
      bide::group all;
      for (int i = 0; i < 4; ++i) {
        all.spawn([i] {
          errno = i;
          CHECK(raw_sleep_keeps_registers(5'000'000));
          CHECK(errno == i);
        });
      }
    });
  }

  TEST_CASE("a timeout and a cancel end such a call as an answer, never as an exception") {
    on_trapping_workers([] {
      channel c;
      for (const auto how : {bide::ended_call::fails, bide::ended_call::unwinds}) {
        char byte = 0;
        auto late = bide::spawn({.libc_calls = how}, [&] {
          bide::timeout limit(5ms);
          return c.read(byte);
        });
        CHECK(late.get() == -ETIMEDOUT);
        auto cancelled = bide::spawn({.libc_calls = how}, [&] {
          const long answer = c.read(byte);
          CHECK(c.write('x') == 1);
          CHECK(c.read(byte) == 1);  // once
          return answer;
        });
        until_parked(cancelled);
        cancelled.cancel();
        CHECK(cancelled.get() == -ECANCELED);
      }
    });
  }

  TEST_CASE("a wrapper sees such a call, and exceptions pass between them") {
    on_trapping_workers([] {
      int seen = 0;
      const bide::call_wrapper w(SYS_nanosleep, [&](bide::passing_call& call) {
        ++seen;
        call.go_on();
        return -E2BIG;
      });
      CHECK(raw_sleep(1ms) == -E2BIG);
      CHECK(seen == 1);
      for (int i = 0; i < 3; ++i) {
        try {
          raw_sleep(1ms);
          throw i;
        } catch (int n) {
          raw_sleep(1ms);
          CHECK(n == i);
        }
      }
    });
  }

  TEST_CASE("threads and processes are made as ever, by libc and by such calls") {
    on_trapping_workers([] {
      // A thread beside the workers blocks what it likes, and its calls are the kernel's.
      int result = -1;
      std::thread beside([&] {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, nullptr);
        result = static_cast<int>(raw_sleep(1ms));
      });
      beside.join();
      CHECK(result == 0);
      bide::offload([&] { result = static_cast<int>(raw(SYS_getpid) == getpid()); });
      CHECK(result == 1);

      pid_t child = -1;
      char sh[] = "sh", c[] = "-c", script[] = "exit 4";
      char* const words[] = {sh, c, script, nullptr};
      CHECK(posix_spawnp(&child, "sh", nullptr, nullptr, words, environ) == 0);
      CHECK(status_of(child) == 4);
      CHECK(WEXITSTATUS(system("exit 5")) == 5);
      FILE* const out = popen("echo out", "r");
      REQUIRE(out);
      char line[16] = {};
      CHECK(fgets(line, sizeof line, out) != nullptr);
      CHECK(std::string(line) == "out\n");
      CHECK(pclose(out) == 0);
      CHECK(status_of(static_cast<pid_t>(raw_vfork_and_exit(6))) == 6);

      channel told;
      alignas(16) static char stack[16384];
      CHECK(raw_thread_that_writes(stack + sizeof stack, told.ends[1], 'x') > 0);
      char byte = 0;
      CHECK(told.read(byte) == 1);
      CHECK(byte == 'x');
      usleep(10'000);  // until it has left its stack
    });
  }

  TEST_CASE("a child goes on with the door open, forked by libc or by the instruction") {
    on_trapping_workers([] {
      for (const bool by_libc : {true, false}) {
        CAPTURE(by_libc);
        const pid_t child = by_libc ? fork() : static_cast<pid_t>(raw(SYS_fork));
        REQUIRE(child >= 0);
        if (child == 0) {
          alarm(20);
          _exit(works(rounds_of_sleepers() < 3));
        }
        CHECK(status_of(child) == 0);
      }
      CHECK(rounds_of_sleepers() < 3);
    });
    // And one that has no runtime has no door.
    const ending e = in_child([] {
      bide::run([] {
        pid_t child = -1;
        std::thread([&] {
          if ((child = fork()) == 0) {
            signal(SIGSYS, SIG_DFL);
            _exit(works(raw(SYS_getpid) == getpid()));
          }
        }).join();
        if (status_of(child) != 0) _exit(9);
      }, trapping());
    });
    CHECK(e.exited(0));
  }

  TEST_CASE("a program that blocks all signals is told so, and its calls go on") {
    on_trapping_workers([] {
      sigset_t all, before, now;
      sigfillset(&all);
      REQUIRE(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
      CHECK(raw_sleep(1ms) == 0);
      CHECK(getppid() == raw(SYS_getppid));
      pthread_sigmask(SIG_BLOCK, nullptr, &now);
      CHECK(sigismember(&now, SIGSYS));
      unsigned long told = 0;
      CHECK(raw(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &told, sizeof told) == 0);
      CHECK((told >> (SIGSYS - 1) & 1));
      CHECK(raw(SYS_rt_sigprocmask, SIG_SETMASK, 8, nullptr, sizeof told) == -EFAULT);
      REQUIRE(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
      pthread_sigmask(SIG_BLOCK, nullptr, &now);
      CHECK(!sigismember(&now, SIGSYS));

      // While one waits under such a mask, the others' calls trap.
      bide::group waits;
      waits.spawn([&] {
        const timespec some{0, 20'000'000};
        CHECK(ppoll(nullptr, 0, &some, &all) == 0);
      });
      waits.spawn([&] {
        const timespec some{0, 20'000'000};
        unsigned long mask = ~0ul;
        CHECK(raw(SYS_ppoll, nullptr, 0, &some, &mask, sizeof mask) == 0);
      });
      waits.spawn([] {
        for (int i = 0; i < 10; ++i) CHECK(raw_sleep(2ms) == 0);
      });
    });
  }

  TEST_CASE("handlers that block all signals make any call, whenever they were set") {
    handled = 0;
    handle(SIGUSR1, call_much);
    sigset_t sigsys, before;
    sigemptyset(&sigsys);
    sigaddset(&sigsys, SIGSYS);
    pthread_sigmask(SIG_BLOCK, &sigsys, &before);
    on_trapping_workers([] {
      handle(SIGUSR2, call_much);
      std::thread([] { handle(SIGHUP, call_much); }).join();
      const int so_far = handled;
      for (const int number : {SIGUSR1, SIGUSR2, SIGHUP}) raise(number);
      CHECK(handled == so_far + 3);
      struct sigaction now;
      sigaction(SIGUSR2, nullptr, &now);
      CHECK(sigismember(&now.sa_mask, SIGSYS));
      CHECK(raw_sleep(1ms) == 0);

      // Out of the handler by a jump, which restores the mask.
      signal(SIGUSR2, [](int) { siglongjmp(way_out, 1); });
      for (int i = 0; i < 3; ++i) {
        if (sigsetjmp(way_out, 1) == 0) raise(SIGUSR2);
        CHECK(raw_sleep(1ms) == 0);
      }
    });
    // As it was, on a thread that is nobody's any more.
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, &before, &now);
    CHECK(sigismember(&now, SIGSYS));
    struct sigaction a;
    sigaction(SIGUSR1, nullptr, &a);
    CHECK(sigismember(&a.sa_mask, SIGSYS));
    for (const int number : {SIGUSR1, SIGUSR2, SIGHUP}) signal(number, SIG_DFL);
  }

  TEST_CASE("a handler ends the first fiber's call, or has it go on") {
    handled = 0;
    on_trapping_workers([] {
      channel c;
      char byte = 0;
      handle(SIGUSR1, [](int) { ++handled; });
      auto sender = bide::spawn([] {
        raw_sleep(20ms);
        kill(getpid(), SIGUSR1);
      });
      CHECK(c.read(byte) == -EINTR);
      sender.join();
      handle(SIGUSR1, [](int) { ++handled; }, SA_RESTART);
      auto both = bide::spawn([&] {
        raw_sleep(20ms);
        kill(getpid(), SIGUSR1);
        raw_sleep(20ms);
        c.write('x');
      });
      CHECK(c.read(byte) == 1);
      both.join();
    });
    CHECK(handled == 4);
    signal(SIGUSR1, SIG_DFL);
  }

  TEST_CASE("a handler that waits, wherever it interrupts the runtime, leaves it whole") {
    for (const auto handler : {+[](int) { raw_sleep(20us), ++handled; }, +[](int) { usleep(20), ++handled; }}) {
      on_trapping_workers([&] {
        handled = 0;
        signal(SIGALRM, handler);
        const itimerval often{{0, 400}, {0, 400}}, never{};
        setitimer(ITIMER_REAL, &often, nullptr);
        const auto until = std::chrono::steady_clock::now() + 500ms;
        {
          bide::group all;
          for (int i = 0; i < 8; ++i) {
            all.spawn([&] {
              channel there, back;
              bide::group two;
              two.spawn([&] {
                for (char byte = 0; read(there.ends[0], &byte, 1) == 1 && byte != 'x';) CHECK(write(back.ends[1], &byte, 1) == 1);
              });
              char byte = 0;
              for (int turn = 0; std::chrono::steady_clock::now() < until; ++turn) {
                if (write(there.ends[1], "a", 1) != 1 || read(back.ends[0], &byte, 1) != 1) FAIL("a byte was lost");
                if (turn % 3 == 0) bide::sleep_for(5us);
              }
              CHECK(there.write('x') == 1);
              two.wait();
            });
          }
        }
        setitimer(ITIMER_REAL, &never, nullptr);
        CHECK(handled > 50);
        signal(SIGALRM, SIG_DFL);
      });
    }
  }

  TEST_CASE("a handler that jumps out of a look at the clock leaves the fiber where it jumps to") {
    for (const auto trap : {bide::trap_door::off, bide::trap_door::on}) {
      bide::run([] {
        signal(SIGALRM, [](int) { siglongjmp(way_out, 1); });
        for (int i = 0; i < 100; ++i) {
          const itimerval soon{{0, 0}, {0, 300}};
          if (sigsetjmp(way_out, 1) == 0) {
            setitimer(ITIMER_REAL, &soon, nullptr);
            for (timespec t;;) clock_gettime(CLOCK_MONOTONIC, &t);
          }
          auto slept = bide::spawn([] { return raw_sleep(10us) + usleep(10); });
          CHECK(slept.get() == 0);
          CHECK(bide::this_fiber::id() != 0);
        }
        signal(SIGALRM, SIG_DFL);
      }, {.trap = trap});
    }
  }

  TEST_CASE("SIGSYS of another origin is the program's") {
    const ending e = in_child([] {
      static int seen = 0;
      bide::run([] {
        signal(SIGSYS, [](int) { ++seen; });
        raise(SIGSYS);
        if (seen != 1 || rounds_of_sleepers() >= 3) _exit(3);
      }, trapping());
      raise(SIGSYS);
      if (seen != 2) _exit(4);
    });
    CHECK(e.exited(0));
    CHECK(e.text.empty());
    CHECK(in_child([] { bide::run([] { raise(SIGSYS); }, trapping()); }).died_of(SIGSYS));
  }

  TEST_CASE("the program's thread is its own again behind run, and between steps") {
    const ending e = in_child([] {
      bide::run([] { raw_sleep(1ms); }, trapping());
      signal(SIGSYS, SIG_DFL);
      if (raw(SYS_getpid) != getpid()) _exit(3);
      bide::runtime steps(bide::stepped, trapping());
      auto slept = steps.spawn([] { return rounds_of_sleepers(); });
      sigset_t all;
      sigfillset(&all);
      while (!slept.done()) {
        steps.poll();
        sigset_t before;
        pthread_sigmask(SIG_SETMASK, &all, &before);
        if (raw_sleep(1ms) != 0) _exit(4);  // kills where the door is open
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
      }
      if (slept.get() >= 3) _exit(5);
    });
    CHECK(e.exited(0));
    CHECK(e.text.empty());
  }

  TEST_CASE("a program that uses SIGSYS keeps it, and is told what that means") {
    const ending e = in_child([] {
      signal(SIGSYS, [](int) {});
      bide::run([] { _exit(rounds_of_sleepers() >= 3 ? 7 : 8); }, trapping());
    });
    CHECK(e.exited(7));
    CHECK(e.says("bide: no trap door (options::trap): the program uses SIGSYS itself"));
  }

  TEST_CASE("where the kernel has no such door one line says so, and the runtime goes on") {
    const ending e = in_child([] {
      setenv("BIDE_DISABLE", "trap", 1);
      execl("/proc/self/exe", "api", "--test-suite=api/trap-refused", "--no-skip", "--no-version", nullptr);
      _exit(127);
    });
    CHECK(e.exited(0));
    CHECK(e.says("bide: no trap door (options::trap): BIDE_DISABLE says trap; "));
  }
}

// Run by the last of those above.
TEST_SUITE("api/trap-refused" * doctest::skip()) {
  TEST_CASE("such a call holds its worker then") {
    bide::run([] { CHECK(rounds_of_sleepers() >= 3); }, trapping());
  }
}

TEST_SUITE("api/trap-checked" * doctest::skip(!sanitized)) {
  TEST_CASE("a sanitizer's own calls don't park: one line says so") {
    const ending e = in_child([] { bide::run([] { raw_sleep(1ms); }, trapping()); });
    CHECK(e.exited(0));
    CHECK(e.says("bide: no trap door (options::trap): "));
  }
}
