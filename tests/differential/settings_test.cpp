// How a descriptor waits is asked of the kernel: it may have been set by another name for it, by another process, or by a call
// that no door sees.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <functional>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

struct way {
  std::string name;
  void (*set)(int fd, bool nonblocking);
};

int flags_with(int fd, bool nonblocking) {
  const int flags = fcntl(fd, F_GETFL);
  return nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
}

// By its number here and now, a child of this process sets what it shares with it.
void in_a_child(const std::function<void()>& what) {
  const pid_t child = fork();
  must(child, "fork");
  if (child == 0) {
    what();
    _exit(0);
  }
  int status;
  while (waitpid(child, &status, 0) == -1 && errno == EINTR) {
  }
  if (status != 0) throw broken_scenario{"a child that sets a flag does not end well"};
}

const way ways[] = {
    {"fcntl", [](int fd, bool on) { must(fcntl(fd, F_SETFL, flags_with(fd, on)), "fcntl"); }},
    {"ioctl", [](int fd, bool on) {
       int value = on;
       must(ioctl(fd, FIONBIO, &value), "ioctl");
     }},
    {"fcntl on a duplicate", [](int fd, bool on) {
       const differential::fd twin(must(dup(fd), "dup"));
       must(fcntl(twin, F_SETFL, flags_with(twin, on)), "fcntl");
     }},
    {"fcntl on a duplicate by F_DUPFD_CLOEXEC", [](int fd, bool on) {
       const differential::fd twin(must(fcntl(fd, F_DUPFD_CLOEXEC, 100), "fcntl"));
       must(fcntl(twin, F_SETFL, flags_with(twin, on)), "fcntl");
     }},
    {"a child's fcntl", [](int fd, bool on) { in_a_child([=] { fcntl(fd, F_SETFL, flags_with(fd, on)); }); }},
};
const way raw_way{"a raw call",
                  [](int fd, bool on) { must(syscall(SYS_fcntl, fd, F_SETFL, flags_with(fd, on)), "syscall"); }};

// Reads while set and while not set, by turns. One who should not wait and does is helped out after a while.
void switch_by_turns(actor& me, ends& e, const way& how) {
  char room[8];
  const auto talk = [&] {
    actor& peer = me.start("peer", [&](actor& peer) {
      peer.until_waiting(me);
      must(write(e.theirs, "hello", 5), "write");
    });
    me.call("read", [&] { return read(e.ours, room, sizeof room); });
    me.join(peer);
  };
  talk();
  how.set(e.ours, true);
  std::atomic<bool> back = false;
  actor& help = me.start("help", [&](actor&) {
    for (int i = 0; i < 300 && !back; ++i) moment();
    if (!back) must(write(e.theirs, "wake up", 7), "write");
  });
  me.call("read when set", [&] { return read(e.ours, room, sizeof room); });
  back = true;
  me.join(help);
  me.note("O_NONBLOCK", (fcntl(e.ours, F_GETFL) & O_NONBLOCK) != 0);
  how.set(e.ours, false);
  talk();
}

// SO_RCVTIMEO by some way, after a read that knew of none.
void bound_by(actor& me, void (*set)(int)) {
  ends e = tcp_pair();
  char room[8];
  actor& peer = me.start("peer", [&](actor& peer) {
    peer.until_waiting(me);
    must(write(e.theirs, "hello", 5), "write");
  });
  me.call("read", [&] { return read(e.ours, room, sizeof room); });
  me.join(peer);
  set(e.ours);
  std::atomic<bool> back = false;
  actor& help = me.start("help", [&](actor&) {
    for (int i = 0; i < 1500 && !back; ++i) moment();
    if (!back) must(write(e.theirs, "wake up", 7), "write");
  });
  me.call_for(100ms, "read when set", [&] { return read(e.ours, room, sizeof room); });
  back = true;
  me.join(help);
}

}  // namespace

TEST_SUITE("differential/settings") {
  TEST_CASE("O_NONBLOCK counts from when it is set, whoever set it and how") {
    for (const kind& k : {byte_streams[0], byte_streams[2], byte_streams[3], byte_streams[4]})
      for (const way& how : ways) {
        CAPTURE(k.name);
        CAPTURE(how.name);
        compare([&](actor& me) {
          ends e = k.make();
          switch_by_turns(me, e, how);
        });
      }
  }

  TEST_CASE("O_NONBLOCK counts though it is set by a call that no door sees") {
    for (const kind& k : {byte_streams[0], byte_streams[3]}) {
      CAPTURE(k.name);
      compare([&](actor& me) {
        ends e = k.make();
        switch_by_turns(me, e, raw_way);
      });
    }
  }

  TEST_CASE("a descriptor that came in a message is waited for as its sender has set it") {
    compare([](actor& me) {
      ends gift = stream_pair();
      set_nonblocking(gift.ours);
      // Sent and received by raw calls, as by a library that no door serves.
      ends wire = stream_pair();
      char byte = 0;
      iovec part{&byte, 1};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(sizeof(int));
      const int number = gift.ours;
      memcpy(CMSG_DATA(head), &number, sizeof number);
      must(syscall(SYS_sendmsg, static_cast<int>(wire.theirs), &message, 0), "sendmsg");
      must(syscall(SYS_recvmsg, static_cast<int>(wire.ours), &message, 0), "recvmsg");
      int got;
      memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
      const fd twin(got);
      char room[8];
      me.call("read", [&] { return read(twin, room, sizeof room); });
      me.call("read of the first", [&] { return read(gift.ours, room, sizeof room); });
    });
  }

  TEST_CASE("SO_RCVTIMEO counts from when it is set, whoever set it and how") {
    const std::pair<std::string, void (*)(int)> hows[] = {
        {"setsockopt", [](int fd) { set_timeout(fd, SO_RCVTIMEO, 100ms); }},
        {"setsockopt on a duplicate",
         [](int fd) {
           const differential::fd twin(must(dup(fd), "dup"));
           set_timeout(twin, SO_RCVTIMEO, 100ms);
         }},
        {"a child's setsockopt", [](int fd) { in_a_child([=] { set_timeout(fd, SO_RCVTIMEO, 100ms); }); }},
    };
    for (const auto& [name, set] : hows) {
      CAPTURE(name);
      compare([set = set](actor& me) { bound_by(me, set); });
    }
  }

  TEST_CASE("SO_RCVTIMEO counts though it is set by a call that no door sees") {
    compare([](actor& me) {
      bound_by(me, [](int fd) {
        const timeval value{0, 100'000};
        must(syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof value), "syscall");
      });
    });
  }

  TEST_CASE("a number that libc closed by itself waits as its next owner does") {
    compare([](actor& me) {
      char room[16];
      FILE* stream = popen("sleep 0.05; echo hello; sleep 0.2", "r");
      if (!stream) must(-1, "popen");
      const int number = fileno(stream);
      me.call("read of a command's output", [&] { return read(number, room, sizeof room); });
      set_nonblocking(number);
      me.call("read, O_NONBLOCK", [&] { return read(number, room, sizeof room); });
      pclose(stream);
      // The lowest number is free now, so the next file gets it, by a call of libc's that makes descriptors too.
      ends e = pty_pair();
      if (e.ours != number && e.theirs != number) must(dup2(e.ours, number), "dup2");
      const fd twin(e.ours == number || e.theirs == number ? -1 : number);
      const bool slave = e.theirs != number;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(slave ? e.theirs : e.ours, "hello", 5), "write");
      });
      me.call("read of the next owner", [&] { return read(number, room, sizeof room); });
      me.join(peer);
    });
  }

  TEST_CASE("a number that another file took over by a raw call waits as that file does") {
    compare([](actor& me) {
      ends old = stream_pair();
      char room[8];
      set_timeout(old.ours, SO_RCVTIMEO, 20ms);
      me.call_for(20ms, "read", [&] { return read(old.ours, room, sizeof room); });
      ends fresh = pipe_pair();
      must(syscall(SYS_dup3, static_cast<int>(fresh.ours), static_cast<int>(old.ours), O_CLOEXEC), "dup3");
      actor& peer = me.start("peer", [&](actor&) {
        moment(80ms);
        must(write(fresh.theirs, "hello", 5), "write");
      });
      me.call_for(80ms, "read of the pipe", [&] { return read(old.ours, room, sizeof room); });
      me.join(peer);
    });
  }
}
