// Which waits a signal's handler ends with EINTR, and which go on. A signal sent to the process interrupts the thread that
// called main, and bide's first fiber.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include <functional>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

// Sends the signal once the first actor waits, and runs `afterwards` when it waits again, if it does.
actor& start_sender(actor& me, const counting_handler& handler, std::function<void()> afterwards = {}) {
  return me.start("sender", [&me, &handler, afterwards](actor& sender) {
    sender.until_waiting(me);
    kill(getpid(), SIGUSR1);
    sender.until([&] { return handler.count() > 0; });
    if (!afterwards) return;
    sender.until_waiting(me);
    afterwards();
  });
}

void say(int fd) { must(write(fd, "hello", 5), "write"); }

constexpr std::string_view tsan_waits = "it runs handlers when the call they came in is over, so none runs in one that goes on";

struct case_of {
  std::string name;
  std::function<long(ends&)> wait;
  std::function<void(ends&)> satisfy;
  ends (*make)();
  std::function<void(ends&)> prepare = [](ends&) {};
};

std::vector<case_of> restartable() {
  const auto speak = [](ends& e) { say(e.theirs); };
  const auto drain = [](ends& e) { empty(e.ours); };
  const auto make_full = [](ends& e) { fill(e.theirs); };
  static char room[8];
  static iovec part{room, sizeof room};
  static msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  return {
      {"read of a pipe", [](ends& e) { return read(e.ours, room, 8); }, speak, [] { return pipe_pair(); }},
      {"read of a terminal", [](ends& e) { return read(e.ours, room, 8); }, speak, pty_pair},
      {"readv", [](ends& e) { return readv(e.ours, &part, 1); }, speak, tcp_pair},
      {"recv", [](ends& e) { return recv(e.ours, room, 8, 0); }, speak, tcp_pair},
      {"recv MSG_PEEK", [](ends& e) { return recv(e.ours, room, 8, MSG_PEEK); }, speak, tcp_pair},
      {"recvfrom", [](ends& e) { return recvfrom(e.ours, room, 8, 0, nullptr, nullptr); }, speak, udp_pair},
      {"recvmsg", [](ends& e) { return recvmsg(e.ours, &message, 0); }, speak, [] { return stream_pair(); }},
      {"send", [](ends& e) { return send(e.theirs, "x", 1, 0); }, drain, [] { return stream_pair(); }, make_full},
      {"send over tcp", [](ends& e) { return send(e.theirs, "x", 1, 0); }, drain, tcp_pair, make_full},
      {"send of a datagram", [](ends& e) { return send(e.theirs, "x", 1, 0); }, drain, [] { return datagram_pair(); },
       make_full},
      {"write", [](ends& e) { return write(e.theirs, "x", 1); }, drain, [] { return stream_pair(); }, make_full},
      {"write to a pipe", [](ends& e) { return write(e.theirs, "x", 1); },
       [](ends& e) { read_all(e.ours, 65'536); }, [] { return pipe_pair(); }, make_full},
  };
}

}  // namespace

TEST_SUITE("differential/signal") {
  TEST_CASE("without SA_RESTART a handler ends every wait with EINTR") {
    for (const case_of& one : restartable()) {
      CAPTURE(one.name);
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, 0);
        ends e = one.make();
        one.prepare(e);
        actor& sender = start_sender(me, handler);
        me.call(one.name, [&] { return one.wait(e); });
        me.join(sender);
        me.note("signals", handler.count());
      });
    }
  }

  TEST_CASE("with SA_RESTART a wait goes on after the handler") {
    if (skipped_under_tsan(tsan_waits)) return;
    for (const case_of& one : restartable()) {
      CAPTURE(one.name);
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, SA_RESTART);
        ends e = one.make();
        one.prepare(e);
        actor& sender = start_sender(me, handler, [&] { one.satisfy(e); });
        me.call(one.name, [&] { return one.wait(e); });
        me.join(sender);
        me.note("signals", handler.count());
      });
    }
  }

  TEST_CASE("a wait bounded by SO_RCVTIMEO or SO_SNDTIMEO ends with EINTR even so") {
    for (const case_of& one : restartable()) {
      if (one.name.find("pipe") != std::string::npos || one.name.find("terminal") != std::string::npos) continue;
      CAPTURE(one.name);
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, SA_RESTART);
        ends e = one.make();
        one.prepare(e);
        set_timeout(e.ours, SO_RCVTIMEO, 5000ms);
        set_timeout(e.theirs, SO_SNDTIMEO, 5000ms);
        actor& sender = start_sender(me, handler);
        me.call(one.name, [&] { return one.wait(e); });
        me.join(sender);
      });
    }
  }

  TEST_CASE("accept goes on where SA_RESTART says so") {
    if (skipped_under_tsan(tsan_waits)) return;
    for (const int flags : {0, SA_RESTART}) {
      CAPTURE(flags);
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        const listener at = tcp_listener();
        const fd socket = tcp_socket();
        std::function<void()> knock = [&] { must(connect(socket, at.name(), sizeof at.address), "connect"); };
        actor& sender = start_sender(me, handler, flags ? knock : nullptr);
        fd got;
        me.call("accept", [&] {
          got = fd(accept(at.socket, nullptr, nullptr));
          return got >= 0 ? 0 : -1;
        });
        me.join(sender);
      });
    }
  }

  TEST_CASE("connect to a full unix listener goes on where SA_RESTART says so") {
    if (skipped_under_tsan(tsan_waits)) return;
    for (const int flags : {0, SA_RESTART}) {
      CAPTURE(flags);
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        const unix_name at(1);
        const fd door = unix_listener(at, 0);
        fd sockets[2];
        for (fd& one : sockets) one = fd(must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
        must(connect(sockets[0], at.name(), at.length), "connect");
        std::function<void()> open = [&] { fd(must(accept(door, nullptr, nullptr), "accept")).close(); };
        actor& sender = start_sender(me, handler, flags ? open : nullptr);
        me.call("connect", [&] { return connect(sockets[1], at.name(), at.length); });
        me.join(sender);
      });
    }
  }

  TEST_CASE("an interrupted connect over TCP goes on by itself") {
    compare([](actor& me) {
      const counting_handler handler(SIGUSR1, 0);
      const listener at = tcp_listener(0);
      std::vector<fd> filling;
      for (int i = 0; i < 3; ++i) {
        filling.push_back(tcp_socket(SOCK_NONBLOCK));
        connect(filling.back(), at.name(), sizeof at.address);
        moment(5ms);
      }
      const fd socket = tcp_socket();
      actor& sender = start_sender(me, handler);
      me.call("connect", [&] { return connect(socket, at.name(), sizeof at.address); });
      me.join(sender);
      set_nonblocking(socket);
      me.call("connect, O_NONBLOCK", [&] { return connect(socket, at.name(), sizeof at.address); });
    });
  }

  TEST_CASE("poll, select and epoll_wait end with EINTR whatever SA_RESTART says") {
    for (const int flags : {0, SA_RESTART}) {
      CAPTURE(flags);
      const std::pair<std::string, long (*)(ends&, int)> waits[] = {
          {"poll", [](ends& e, int) -> long { pollfd p{e.ours, POLLIN, 0}; return poll(&p, 1, -1); }},
          {"poll with a timeout", [](ends& e, int) -> long { pollfd p{e.ours, POLLIN, 0}; return poll(&p, 1, 9000); }},
          {"poll of nothing", [](ends&, int) -> long { return poll(nullptr, 0, -1); }},
          {"ppoll", [](ends& e, int) -> long { pollfd p{e.ours, POLLIN, 0}; return ppoll(&p, 1, nullptr, nullptr); }},
          {"select", [](ends& e, int) -> long {
             fd_set set;
             FD_ZERO(&set);
             FD_SET(e.ours, &set);
             const long n = select(e.ours + 1, &set, nullptr, nullptr, nullptr);
             return n == -1 && !FD_ISSET(e.ours, &set) ? 99 : n;
           }},
          {"pselect of nothing", [](ends&, int) -> long {
             const timespec limit{9, 0};
             return pselect(0, nullptr, nullptr, nullptr, &limit, nullptr);
           }},
          {"epoll_wait", [](ends&, int set) -> long { epoll_event got; return epoll_wait(set, &got, 1, -1); }},
          {"epoll_pwait", [](ends&, int set) -> long {
             epoll_event got;
             return epoll_pwait(set, &got, 1, 9000, nullptr);
           }},
      };
      for (const auto& [name, wait] : waits) {
        CAPTURE(name);
        compare([&, &name = name, &wait = wait](actor& me) {
          const counting_handler handler(SIGUSR1, flags);
          ends e = pipe_pair();
          const fd set(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
          epoll_event want{};
          want.events = EPOLLIN;
          must(epoll_ctl(set, EPOLL_CTL_ADD, e.ours, &want), "epoll_ctl");
          actor& sender = start_sender(me, handler);
          me.call(name, [&] { return wait(e, set); });
          me.join(sender);
        });
      }
    }
  }

  TEST_CASE("sleeps end with EINTR whatever SA_RESTART says, and tell what was left") {
    for (const int flags : {0, SA_RESTART}) {
      CAPTURE(flags);
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        const timespec length{65, 600'000'000};
        timespec left{};
        actor& sender = start_sender(me, handler);
        me.call("nanosleep", [&] { return nanosleep(&length, &left); });
        me.note("seconds left", left.tv_sec);
        me.join(sender);
      });
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        const timespec length{5'000'000, 600'000'000};
        timespec left{};
        actor& sender = start_sender(me, handler);
        me.call("clock_nanosleep", [&] { return clock_nanosleep(CLOCK_MONOTONIC, 0, &length, &left); });
        me.note("seconds left", left.tv_sec);
        me.join(sender);
      });
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        timespec then{}, left{7, 7};
        must(clock_gettime(CLOCK_REALTIME, &then), "clock_gettime");
        then.tv_sec += 30;
        actor& sender = start_sender(me, handler);
        me.call("clock_nanosleep until", [&] { return clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &then, &left); });
        me.note("the remainder is not touched", left.tv_sec);
        me.join(sender);
      });
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        actor& sender = start_sender(me, handler);
        me.call("sleep", [&] { return (sleep(70) + 2) / 10; });  // 70 or 69 left
        me.join(sender);
      });
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        actor& sender = start_sender(me, handler);
        me.call("usleep", [&] { return usleep(30'000'000); });
        me.join(sender);
      });
    }
  }

  TEST_CASE("an interrupted transfer returns what it has moved") {
    for (const int flags : {0, SA_RESTART}) {
      CAPTURE(flags);
      for (const kind& k : {byte_streams[0], byte_streams[2]}) {
        CAPTURE(k.name);
        compare([&](actor& me) {
          const counting_handler handler(SIGUSR1, flags);
          ends e = k.make();
          const std::string bytes = pattern(1'000'000);
          actor& sender = start_sender(me, handler);
          me.call("write", [&] { return write(e.theirs, bytes.data(), bytes.size()); });
          me.join(sender);
        });
      }
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, flags);
        ends e = stream_pair();
        must(send(e.theirs, "some", 4, 0), "send");
        actor& sender = start_sender(me, handler);
        char room[64];
        me.call("recv MSG_WAITALL", [&] { return recv(e.ours, room, sizeof room, MSG_WAITALL); });
        me.join(sender);
      });
    }
  }

  TEST_CASE("a signal that is ignored or blocked ends no wait") {
    compare([](actor& me) {
      std::signal(SIGUSR1, SIG_IGN);
      ends e = pipe_pair();
      actor& sender = me.start("sender", [&](actor& sender) {
        sender.until_waiting(me);
        kill(getpid(), SIGUSR1);
        moment(50ms);
        say(e.theirs);
      });
      char room[8];
      me.call("read", [&] { return read(e.ours, room, sizeof room); });
      me.join(sender);
    });
    compare([](actor& me) {
      ends e = pipe_pair();
      actor& sender = me.start("sender", [&](actor& sender) {
        sender.until_waiting(me);
        kill(getpid(), SIGCHLD);  // its default is to be ignored
        moment(50ms);
        say(e.theirs);
      });
      pollfd wait{e.ours, POLLIN, 0};
      me.call("poll", [&] { return poll(&wait, 1, -1); });
      me.join(sender);
    });
  }

  TEST_CASE("a signal to the process leaves the waits of others alone") {
    compare([](actor& me) {
      const counting_handler handler(SIGUSR1, 0);
      ends e = pipe_pair();
      actor& other = me.start("other", [&](actor& other) {
        char room[8];
        other.call("read", [&] { return read(e.ours, room, sizeof room); });
      });
      actor& sender = start_sender(me, handler);
      me.until_waiting(other);
      me.call("poll of nothing", [&] { return poll(nullptr, 0, 20'000); });
      me.join(sender);
      me.until_waiting(other);
      say(e.theirs);
      me.join(other);
    });
  }

  TEST_CASE("every one of many signals is handled, though waits come and go") {
    compare([](actor& me) {
      const counting_handler handler(SIGUSR1, 0);
      actor& sender = me.start("sender", [&](actor& sender) {
        for (int i = 1; i <= 20; ++i) {
          kill(getpid(), SIGUSR1);
          sender.until([&] { return handler.count() >= i; });
        }
      });
      while (handler.count() < 20) usleep(100'000);
      me.join(sender);
      me.note("signals", handler.count());
    });
  }

  TEST_CASE("ppoll, pselect and epoll_pwait let through what their mask lets through") {
    for (const int which : {0, 1, 2}) {
      CAPTURE(which);
      compare([&](actor& me) {
        const counting_handler handler(SIGUSR1, SA_RESTART);
        sigset_t blocked, open;
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGUSR1);
        must(pthread_sigmask(SIG_BLOCK, &blocked, &open) == 0 ? 0 : -1, "pthread_sigmask");
        raise(SIGUSR1);
        me.note("while blocked", handler.count());
        const timespec limit{9, 0};
        const fd set(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
        epoll_event got;
        if (which == 0) me.call("ppoll", [&] { return ppoll(nullptr, 0, &limit, &open); });
        if (which == 1) me.call("pselect", [&] { return pselect(0, nullptr, nullptr, nullptr, &limit, &open); });
        if (which == 2) me.call("epoll_pwait", [&] { return epoll_pwait(set, &got, 1, 9000, &open); });
        me.note("afterwards", handler.count());
        sigset_t now;
        must(pthread_sigmask(SIG_SETMASK, nullptr, &now) == 0 ? 0 : -1, "pthread_sigmask");
        me.note("blocked again", sigismember(&now, SIGUSR1));
      });
    }
  }
}
