// The matrix's calls that wait for processes, signals, words in memory and whoever opens the other end.
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "matrix_scenes.hpp"

namespace differential {

namespace {

// A child that ends with 3 when it is let go; with a file, it has it locked till then.
struct child {
  pid_t id;
  fd lifeline, end;  // a pidfd

  explicit child(int file = -1) {
    ends life = pipe_pair(), ready = pipe_pair();
    id = static_cast<pid_t>(must(fork(), "fork"));
    if (id == 0) {
      life.theirs.close();
      struct flock whole {};
      whole.l_type = F_WRLCK;
      if (file >= 0) fcntl(file, F_SETLK, &whole);
      ready.theirs.close();
      char c;
      _exit(read(life.ours, &c, 1) == 0 ? 3 : 4);
    }
    lifeline = std::move(life.theirs);
    ready.theirs.close();
    read_all(ready.ours, 1);  // its end
    end = fd(must(syscall(SYS_pidfd_open, id, 0), "pidfd_open"));
  }
  void let_go() {
    lifeline.close();
    pollfd ended{end, POLLIN, 0};
    must(poll(&ended, 1, 1000), "poll");
  }
};

// What is left of it: nothing once it is waited for.
std::string child_left(pid_t id) {
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(id), &info, WEXITED | WNOHANG | WNOWAIT) == -1) return error_name(errno);
  return info.si_pid == id ? "to be waited for" : "alive";
}

// `wait` returns 0 if it told of that child and its end; of none, 1.
scene waiting_for(std::function<long(const child&, int flags)> wait, std::function<long()> wrong, std::function<long()> nobody) {
  const auto one = std::make_shared<child>();
  scene s;
  s.go = [=] { return wait(*one, 0); };
  s.at_once = [=] { return wait(*one, WNOHANG); };
  s.go_wrong = std::move(wrong);
  s.go_nowhere = std::move(nobody);
  s.free = [=] { one->let_go(); };
  s.rest = [=] { return child_left(one->id); };
  return s;
}

long by_wait4(pid_t whom, const child& one, int flags) {
  int status = 0;
  const pid_t found = wait4(whom, &status, flags, nullptr);
  return found <= 0 ? found + (found == 0) : found == one.id && WIFEXITED(status) && WEXITSTATUS(status) == 3 ? 0 : 99;
}
long by_waitid(idtype_t which, id_t whom, const child& one, int flags) {
  siginfo_t info{};
  const int done = waitid(which, whom, &info, WEXITED | flags);
  return done == -1 ? -1 : info.si_pid == 0 ? 1 : info.si_pid == one.id && info.si_status == 3 ? 0 : 99;
}

// SIGUSR2 is blocked in every thread.
scene taking_signal(bool timed) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  scene s;
  const auto go = [=](milliseconds length) {
    const timespec t = to_timespec(length);
    return timed ? sigtimedwait(&set, nullptr, &t) : sigwaitinfo(&set, nullptr);
  };
  s.go = [=] { return go(long_enough); };
  if (timed) s.in_time = [=] { return go(limit); };
  if (timed) s.at_once = [=] { return go(0ms); };
  s.go_wrong = [] { return sigwaitinfo(static_cast<const sigset_t*>(bad_address()), nullptr); };
  s.free = [] { must(kill(getpid(), SIGUSR2), "kill"); };
  s.rest = [] {
    sigset_t left;
    sigpending(&left);
    return std::string(sigismember(&left, SIGUSR2) ? "pending" : "taken");
  };
  return s;
}

// What ends with any handler.
scene until_signal(std::function<long()> go) {
  scene s;
  s.go = std::move(go);
  return s;
}
long by_sigsuspend(const sigset_t* mask) { return sigsuspend(mask); }

// A word that is 0 until another sets it and wakes one.
scene on_word(int flags) {
  const auto word = std::make_shared<std::atomic<std::uint32_t>>(0);
  const auto futex = [flags](void* at, int what, std::uint32_t value, const timespec* length) -> long {
    return syscall(SYS_futex, at, what | flags, value, length, nullptr, 0);
  };
  scene s;
  s.go = [=] { return futex(word.get(), FUTEX_WAIT, 0, nullptr); };
  s.in_time = [=] {
    const timespec t = to_timespec(limit);
    return futex(word.get(), FUTEX_WAIT, 0, &t);
  };
  s.at_once = [=] {
    const timespec none{};
    return futex(word.get(), FUTEX_WAIT, 0, &none);
  };
  s.go_wrong = [=] { return futex(bad_address(), FUTEX_WAIT, 0, nullptr); };
  s.free = [=] {
    *word = 1;
    must(futex(word.get(), FUTEX_WAKE, 1, nullptr), "futex");
  };
  s.rest = [=] { return std::to_string(futex(word.get(), FUTEX_WAKE, 100, nullptr)) + " still wait"; };
  return s;
}

struct fifo_name {
  std::string folder, path;
  fifo_name() {
    char made[] = "/tmp/bide-matrix-XXXXXX";
    if (!mkdtemp(made)) must(-1, "mkdtemp");
    folder = made;
    path = folder + "/fifo";
    must(mkfifo(path.c_str(), 0600), "mkfifo");
  }
  ~fifo_name() {
    unlink(path.c_str());
    rmdir(folder.c_str());
  }
};

long opened(int fresh) {
  if (fresh >= 0) fd(fresh).close();
  return fresh >= 0 ? 0 : -1;
}

scene opening(int how) {
  const auto at = std::make_shared<fifo_name>();
  const auto other = shared(fd());
  scene s;
  s.go = [=] { return opened(open(at->path.c_str(), how | O_CLOEXEC)); };
  s.at_once = [=] { return opened(open(at->path.c_str(), how | O_NONBLOCK | O_CLOEXEC)); };
  s.go_wrong = [=] { return opened(open(static_cast<const char*>(bad_address()), how)); };
  s.free = [=] { *other = fd(must(open(at->path.c_str(), O_RDWR | O_CLOEXEC), "open")); };
  s.rest = [=] {  // is it open for the other direction?
    other->close();
    return std::string(opened(open(at->path.c_str(), O_WRONLY | O_NONBLOCK)) == 0 ? "is read" : "is not read");
  };
  return s;
}

// Of a file that another process has locked.
scene locking() {
  const auto mine = shared(regular_file(""));
  const std::string name = "/proc/self/fd/" + std::to_string(*mine);
  const auto theirs = shared(fd(must(open(name.c_str(), O_RDWR | O_CLOEXEC), "open")));
  const auto holder = std::make_shared<child>(*theirs);
  const auto by = [](int file, int command, int type) -> long {
    struct flock whole {};
    whole.l_type = static_cast<short>(type);
    const long done = fcntl(file, command, &whole);
    return command == F_OFD_GETLK ? whole.l_type : done;
  };
  scene s;
  s.go = [=] { return by(*mine, F_SETLKW, F_WRLCK); };
  s.at_once = [=] { return by(*mine, F_SETLK, F_WRLCK); };
  s.go_nowhere = [=] { return by(-1, F_SETLKW, F_WRLCK); };
  s.go_wrong = [=]() -> long { return fcntl(*mine, F_SETLKW, bad_address()); };
  s.free = [=] { holder->let_go(); };
  s.rest = [=] { return std::string(by(*theirs, F_OFD_GETLK, F_WRLCK) == F_UNLCK ? "not locked" : "locked"); };
  return s;
}

// A pseudoterminal has nothing to wait for.
scene draining(std::function<long(int)> drain) {
  const auto e = std::make_shared<ends>(pty_pair());
  scene s;
  must(write(e->ours, "hello", 5), "write");
  s.go = [=] { return drain(e->ours); };
  s.go_nowhere = [=] { return drain(-1); };
  s.free = [] {};
  s.rest = [=] { return read_all(e->theirs, 5); };
  return s;
}

const waiting awaits[] = {
    {"wait4", "child", true, [](milliseconds) {
       return waiting_for([](const child& c, int flags) { return by_wait4(c.id, c, flags); }, {},
                          []() -> long { return wait4(1, nullptr, 0, nullptr); });
     }},
    {"wait4", "any child", true, [](milliseconds) {
       return waiting_for([](const child& c, int flags) { return by_wait4(-1, c, flags); }, {}, {});
     }},
    {"wait4", "group", true, [](milliseconds) {
       return waiting_for([](const child& c, int flags) { return by_wait4(0, c, flags); }, {}, {});
     }},
    {"waitid", "child", true, [](milliseconds) {
       return waiting_for([](const child& c, int flags) { return by_waitid(P_PID, static_cast<id_t>(c.id), c, flags); }, {},
                          []() -> long { return waitid(P_PID, 1, nullptr, WEXITED); });
     }},
    {"waitid", "pidfd", true, [](milliseconds) {
       return waiting_for([](const child& c, int flags) { return by_waitid(P_PIDFD, static_cast<id_t>(c.end), c, flags); }, {},
                          []() -> long { return waitid(P_PIDFD, 900, nullptr, WEXITED); });
     }},
    {"waitid", "any child", true, [](milliseconds) {
       return waiting_for([](const child& c, int flags) { return by_waitid(P_ALL, 0, c, flags); }, {}, {});
     }},
    {"sigwaitinfo", "signal", true, [](milliseconds) { return taking_signal(false); }},
    {"sigtimedwait", "signal", true, [](milliseconds) { return taking_signal(true); }},
    {"pause", "signal", true, [](milliseconds) { return until_signal([]() -> long { return pause(); }); }},
    {"sigsuspend", "signal", true, [](milliseconds) {
       sigset_t none;
       sigemptyset(&none);
       scene s = until_signal([none] { return by_sigsuspend(&none); });
       s.go_wrong = [] { return by_sigsuspend(static_cast<const sigset_t*>(bad_address())); };
       return s;
     }},
    {"futex", "private word", false, [](milliseconds) { return on_word(FUTEX_PRIVATE_FLAG); }},
    {"futex", "shared word", false, [](milliseconds) { return on_word(0); }},
    {"open", "fifo, to read", true, [](milliseconds) { return opening(O_RDONLY); }},
    {"open", "fifo, to write", true, [](milliseconds) { return opening(O_WRONLY); }},
    {"fcntl F_SETLKW", "lock", true, [](milliseconds) { return locking(); }},
    {"tcdrain", "pty", false, [](milliseconds) { return draining([](int at) -> long { return tcdrain(at); }); }},
    {"tcsetattr TCSADRAIN", "pty", false, [](milliseconds) {
       return draining([](int at) -> long {
         termios how{};
         cfmakeraw(&how);
         return tcsetattr(at, TCSADRAIN, &how);
       });
     }},
};

}  // namespace

void add_awaits(std::vector<cell>& to) { add_scenes(to, awaits); }

}  // namespace differential
