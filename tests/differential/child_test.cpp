#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

// A child that does what it is told and exits with a code; it sees nothing of the fibers.
template <class What>
pid_t child(What what) {
  const pid_t made = static_cast<pid_t>(must(fork(), "fork"));
  if (made) return made;
  what();
  _exit(0);
}

pid_t child_that_ends(milliseconds later, int code) {
  return child([=] {
    usleep(static_cast<useconds_t>(later.count() * 1000));
    _exit(code);
  });
}

std::string ending(int status) {
  if (WIFEXITED(status)) return "exit " + std::to_string(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  if (WIFSTOPPED(status)) return "stopped by " + std::to_string(WSTOPSIG(status));
  return WIFCONTINUED(status) ? "continued" : "?";
}

// Whether a call returned that child's number.
template <class Call>
void reap(actor& me, std::string_view what, pid_t expected, Call call) {
  int status = 0;
  me.call(what, [&] { return call(&status) == expected ? 1 : -1; });
  me.note("it ended", ending(status));
}

}  // namespace

TEST_SUITE("differential/child") {
  TEST_CASE("a wait for one child lasts until that one ends") {
    compare([](actor& me) {
      const pid_t one = child_that_ends(80ms, 3), two = child_that_ends(0ms, 4), three = child_that_ends(40ms, 5);
      reap(me, "waitpid", one, [=](int* s) { return waitpid(one, s, 0); });
      reap(me, "wait4", two, [=](int* s) {
        rusage usage{};
        return wait4(two, s, 0, &usage);
      });
      reap(me, "waitpid of one that has ended", three, [=](int* s) { return waitpid(three, s, 0); });
      me.call("waitpid once more", [&] { return waitpid(one, nullptr, 0); });
    });
  }

  TEST_CASE("others run while one waits for a child") {
    compare([](actor& me) {
      ends e = pipe_pair();
      const pid_t one = child([&] {
        char c;
        _exit(read(e.ours, &c, 1) == 1 ? 7 : 8);
      });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return write(e.theirs, "x", 1); });
      });
      reap(me, "waitpid", one, [=](int* s) { return waitpid(one, s, 0); });
      me.join(peer);
    });
  }

  TEST_CASE("a wait for any child takes whichever ends first") {
    compare([](actor& me) {
      ends e = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "x", 1), "write");
      });
      const pid_t slow = child_that_ends(400ms, 1);
      const pid_t quick = child([&] {
        char c;
        _exit(read(e.ours, &c, 1) == 1 ? 2 : 8);
      });
      reap(me, "wait", quick, [](int* s) { return wait(s); });
      reap(me, "wait3", slow, [](int* s) { return wait3(s, 0, nullptr); });
      me.call("wait without children", [] { return wait(nullptr); });
      me.join(peer);
    });
  }

  TEST_CASE("a wait for a group takes its members only") {
    compare([](actor& me) {
      const pid_t member = child([] {
        usleep(80'000);
        _exit(6);
      });
      must(setpgid(member, member), "setpgid");
      const pid_t other = child_that_ends(0ms, 1);
      reap(me, "waitpid", member, [=](int* s) { return waitpid(-member, s, 0); });
      reap(me, "waitpid of the own group", other, [](int* s) { return waitpid(0, s, 0); });
      me.call("waitpid of a group that is no more", [&] { return waitpid(-member, nullptr, 0); });
    });
  }

  TEST_CASE("stops and continuations are told to who asked for them") {
    compare([](actor& me) {
      const pid_t one = child([] {
        raise(SIGSTOP);
        usleep(50'000);
        _exit(9);
      });
      reap(me, "waitpid WUNTRACED", one, [=](int* s) { return waitpid(one, s, WUNTRACED); });
      must(kill(one, SIGCONT), "kill");
      reap(me, "waitpid WCONTINUED", one, [=](int* s) { return waitpid(one, s, WCONTINUED); });
      reap(me, "waitpid", one, [=](int* s) { return waitpid(one, s, 0); });
    });
  }

  TEST_CASE("WNOHANG doesn't wait") {
    compare([](actor& me) {
      const pid_t one = child_that_ends(100ms, 0);
      me.call_for(0ms, "waitpid", [&] { return waitpid(one, nullptr, WNOHANG); });
      siginfo_t info{};
      info.si_pid = 77;
      me.call_for(0ms, "waitid", [&] { return waitid(P_PID, static_cast<id_t>(one), &info, WEXITED | WNOHANG); });
      me.note("si_pid", info.si_pid);
      must(waitpid(one, nullptr, 0), "waitpid");
    });
  }

  TEST_CASE("waitid tells of an end, and leaves the child with WNOWAIT") {
    compare([](actor& me) {
      const pid_t one = child([] {
        usleep(60'000);
        raise(SIGTERM);
      });
      for (const int keep : {WNOWAIT, 0}) {
        siginfo_t info{};
        me.call("waitid", [&] { return waitid(P_PID, static_cast<id_t>(one), &info, WEXITED | keep); });
        me.note("si_pid is the child", info.si_pid == one);
        me.note("si_code", info.si_code);
        me.note("si_status", info.si_status);
        me.note("si_signo", info.si_signo);
      }
      me.call("waitid once more", [&] { return waitid(P_PID, static_cast<id_t>(one), nullptr, WEXITED); });
      me.call("waitid for nothing", [&] { return waitid(P_PID, static_cast<id_t>(one), nullptr, 0); });
    });
  }

  TEST_CASE("waitid waits by a pidfd, and for any child") {
    compare([](actor& me) {
      const pid_t one = child_that_ends(60ms, 4);
      const fd at(must(syscall(SYS_pidfd_open, one, 0), "pidfd_open"));
      siginfo_t info{};
      constexpr auto by_pidfd = static_cast<idtype_t>(3);
      me.call("waitid", [&] { return waitid(by_pidfd, static_cast<id_t>(+at), &info, WEXITED); });
      me.note("si_status", info.si_status);
      const pid_t two = child_that_ends(40ms, 5);
      me.call("waitid for any", [&] { return waitid(P_ALL, 0, &info, WEXITED); });
      me.note("it is that child", info.si_pid == two);
      me.note("si_status", info.si_status);
    });
  }

  TEST_CASE("a signal handler ends a wait, unless it restarts") {
    for (const int flags : {0, SA_RESTART}) {
      CAPTURE(flags);
      compare([flags](actor& me) {
        const counting_handler counted(SIGUSR1, flags);
        ends e = pipe_pair();
        const pid_t parent = getpid();
        const pid_t one = child([&] {
          usleep(80'000);
          kill(parent, SIGUSR1);
          usleep(80'000);
          _exit(1);
        });
        int status = 0;
        me.call("waitpid", [&] { return waitpid(one, &status, 0) == one ? 1 : -1; });
        me.note("handled", counted.count());
        me.call("waitpid again", [&] { return waitpid(one, &status, 0) == one ? 1 : -1; });
      });
    }
  }
}
