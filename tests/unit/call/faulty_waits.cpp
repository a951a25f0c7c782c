// Waits for readiness, connections, children, signals, completions.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <memory>

#include "call/faulty_call.hpp"
#include "lib/sched/signals.hpp"
#include "support/descriptors.hpp"
#include "support/ring.hpp"

namespace unit {
namespace {

using bide::sys::raw;

struct places {
  ends stream = socket_pair();
  fd other{make_call(SYS_dup, stream.ours)};  // so that the loop's word for it is not enough
  fd set{::epoll_create1(EPOLL_CLOEXEC)};
  pollfd one{};
  fd_set bits{};
  epoll_event event{};
  unsigned short port = 0;
  fd listens = listener(port), client{make_call(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)}, clients[8];
  pid_t child = -1;
  ring queue;
  sigset_t signals{}, before{}, masked{}, open{};
  struct sigaction action_before {};

  places() {
    epoll_event readable{EPOLLIN, {}};
    ::epoll_ctl(set, EPOLL_CTL_ADD, stream.ours, &readable);
    for (const int number : {awaited(), handled()}) ::sigaddset(&signals, number);
    ::pthread_sigmask(SIG_BLOCK, &signals, &before);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &masked);
    open = masked;
    ::sigdelset(&open, handled());
    struct sigaction now {};
    now.sa_handler = [](int) { bide::core::note_signal(false); };
    ::sigaction(handled(), &now, &action_before);
  }
  ~places() {
    take_signals();
    ::sigaction(handled(), &action_before, nullptr);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    collect();
  }
  pollfd* readable() {
    one = {stream.ours, POLLIN, 0};
    return &one;
  }
  fd_set* readable_set() {
    FD_ZERO(&bits);
    FD_SET(stream.ours, &bits);
    return &bits;
  }

  void turn_away() {
    for (fd& c : clients) c.close();
    raw(SYS_fcntl, +listens, F_SETFL, O_NONBLOCK);
    for (long fresh; (fresh = raw(SYS_accept4, +listens, nullptr, nullptr, 0)) >= 0;) raw(SYS_close, fresh);
    raw(SYS_fcntl, +listens, F_SETFL, 0);
  }
  void knock() {
    turn_away();
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    for (fd& c : clients) {
      c = fd(raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
      raw(SYS_connect, +c, &to, sizeof to);
    }
  }

  bool has_child() const {
    siginfo_t how;
    return child > 0 && ::waitid(P_PID, static_cast<id_t>(child), &how, WEXITED | WNOHANG | WNOWAIT) == 0;
  }
  void collect() {
    if (!has_child()) return;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  // One that lives until it is ended. Not by fork(2), whose handlers know of the runtime.
  void beget() {
    collect();
    child = ::vfork();
    if (child == 0) {
      ::execlp("sleep", "sleep", "1000", nullptr);
      _exit(1);
    }
  }
  // One that has ended, and waits to be collected.
  pid_t ended() {
    if (has_child()) return child;
    child = ::vfork();
    if (child == 0) _exit(0);
    return child;
  }
  void end_child() {
    if (has_child()) ::kill(child, SIGKILL);
  }

  // Queued, each as often as it was sent: signal(7).
  static int awaited() { return SIGRTMIN + 5; }
  static int handled() { return SIGRTMIN + 6; }
  static void send(int number) { raw(SYS_tgkill, raw(SYS_getpid), raw(SYS_gettid), number); }
  void take_signals() {
    constexpr timespec none{};
    while (::sigtimedwait(&signals, nullptr, &none) > 0) {}
  }
  void send_signals() {
    take_signals();
    for (int i = 0; i < 8; ++i) send(awaited());
  }

  void complete() {
    queue.take();
    for (int i = 0; i < 8; ++i) queue.ask_nothing();
    raw(SYS_io_uring_enter, queue.fd(), 8, 0, 0, nullptr, 0);
  }
};

}  // namespace

faulty_calls faulty_waits() {
  const auto p = std::make_shared<places>();
  faulty_calls all;
  const auto add = [&](const char* name, long nr, long attempted, const std::vector<int>& errors,
                       std::function<long()> make) -> faulty_call& {
    all.push_back({name, nr, attempted, errors, std::move(make)});
    return all.back();
  };
  const auto look = [&](const char* name, long nr, long attempted, const std::vector<int>& errors, std::function<long()> make) {
    add(name, nr, attempted, errors, std::move(make)).parks(0).never_restarts().between(
        [p] { drain(p->stream.ours); }, [p] { raw(SYS_write, +p->stream.theirs, "text", 4); });
  };
  look("poll", SYS_poll, SYS_poll, {ENOMEM, EINVAL}, [p] { return make_call(SYS_poll, p->readable(), 1, -1); });
  look("ppoll", SYS_ppoll, SYS_poll, {ENOMEM, EINVAL},
       [p] { return make_call(SYS_ppoll, p->readable(), 1, nullptr, nullptr, 8); });
  look("select", SYS_select, SYS_pselect6, {ENOMEM, EBADF},
       [p] { return make_call(SYS_select, p->stream.ours + 1, p->readable_set(), nullptr, nullptr, nullptr); });
  look("pselect6", SYS_pselect6, SYS_pselect6, {ENOMEM, EBADF},
       [p] { return make_call(SYS_pselect6, p->stream.ours + 1, p->readable_set(), nullptr, nullptr, nullptr, nullptr); });
  look("epoll_wait", SYS_epoll_wait, SYS_epoll_pwait, {EINVAL, EFAULT},
       [p] { return make_call(SYS_epoll_wait, p->set, &p->event, 1, -1); });
  look("epoll_pwait", SYS_epoll_pwait, SYS_epoll_pwait, {EINVAL, EFAULT},
       [p] { return make_call(SYS_epoll_pwait, p->set, &p->event, 1, -1, nullptr, 8); });
  look("epoll_pwait2", SYS_epoll_pwait2, SYS_epoll_pwait, {EINVAL, EFAULT},
       [p] { return make_call(SYS_epoll_pwait2, p->set, &p->event, 1, nullptr, nullptr, 8); });
  // The mask that a wait is under.
  look("ppoll's mask", SYS_ppoll, SYS_rt_sigprocmask, {EFAULT, EINVAL},
       [p] { return make_call(SYS_ppoll, p->readable(), 1, nullptr, &p->masked, 8); });
  all.back().dry.reset();

  const std::vector<int> accepts{EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED};
  const auto accept = [&](const char* name, long nr, std::function<long()> make) {
    add(name, nr, SYS_accept4, accepts, std::move(make)).between([p] { p->turn_away(); }, [p] { p->knock(); });
  };
  accept("accept", SYS_accept, [p] { return closed(make_call(SYS_accept, p->listens, nullptr, nullptr)); });
  accept("accept4", SYS_accept4, [p] { return closed(make_call(SYS_accept4, p->listens, nullptr, nullptr, SOCK_CLOEXEC)); });
  add("connect", SYS_connect, SYS_connect, {ENOBUFS, ENOMEM, EADDRNOTAVAIL, ENETUNREACH, EINTR},
      [p] { return connect_to(p->client, p->port); }).answers([](long n) { return n == -EINPROGRESS; });
  add("connect, waiting", SYS_connect, SYS_connect, {ENOBUFS, ENOMEM, EADDRNOTAVAIL, ENETUNREACH, ECONNREFUSED}, [p] {
    const fd c(make_call(SYS_socket, AF_INET, SOCK_STREAM, 0));
    return connect_to(c, p->port);
  });

  const auto child = [&](const char* name, long nr, std::function<long()> make) {
    add(name, nr, nr, {ECHILD, EINTR}, std::move(make)).parks_alone(0).between([p] { p->beget(); }, [p] { p->end_child(); });
  };
  child("wait4", SYS_wait4, [p] { return make_call(SYS_wait4, p->ended(), nullptr, 0, nullptr); });
  child("waitid", SYS_waitid, [p] { return make_call(SYS_waitid, P_PID, p->ended(), nullptr, WEXITED, nullptr); });
  // Of several, or of stops, nothing tells: in the kernel.
  add("wait4 of a group", SYS_wait4, SYS_wait4, {ECHILD, EINTR},
      [p] { return make_call(SYS_wait4, p->ended(), nullptr, WUNTRACED, nullptr); })
      .waits_elsewhere(0).between([p] { p->beget(); }, [p] { p->end_child(); });

  add("rt_sigtimedwait", SYS_rt_sigtimedwait, SYS_rt_sigtimedwait, {EINTR},
      [p] { return make_call(SYS_rt_sigtimedwait, &p->signals, nullptr, nullptr, 8); })
      .parks(-EAGAIN).never_restarts().between([p] { p->take_signals(); }, [p] { p->send_signals(); });
  add("rt_sigsuspend", SYS_rt_sigsuspend, SYS_rt_sigprocmask, {EFAULT, EINVAL}, [p] {
    places::send(places::handled());  // comes through the mask of the wait
    return make_call(SYS_rt_sigsuspend, &p->open, 8);
  }).answers([](long n) { return n == -EINTR; });

  if (p->queue.fd() >= 0) {
    add("io_uring_enter", SYS_io_uring_enter, SYS_io_uring_enter, {EBUSY, EAGAIN, EBADR, EINTR},
        [p] { return p->queue.take(), p->queue.enter(0, 0, 0); });
    for (const auto& [name, least] : {std::pair{"io_uring_enter, for one", 1u}, std::pair{"io_uring_enter, for three", 3u}}) {
      add(name, SYS_io_uring_enter, SYS_io_uring_enter, {EBUSY, EAGAIN, EBADR, EINTR}, [p, least] { return p->queue.enter(0, least); })
          .never_restarts().between([p] { p->queue.take(); }, [p] { p->complete(); });
    }
  }
  return all;
}

}  // namespace unit
