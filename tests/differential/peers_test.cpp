// What other libraries of fibers got wrong, and no other suite has: tests/peers/README.md.
#include <doctest/doctest.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <thread>

#include <bide/offload.hpp>
#include <bide/run.hpp>
#include <bide/this_fiber.hpp>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

int local_listener(sockaddr_in& where) {
  const int fd = static_cast<int>(must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  where = {};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof where;
  must(bind(fd, reinterpret_cast<sockaddr*>(&where), length), "bind");
  must(listen(fd, 8), "listen");
  must(getsockname(fd, reinterpret_cast<sockaddr*>(&where), &length), "getsockname");
  return fd;
}

// What one who waits in several ways is told, all in all. No fiber's, and before main and after it as well.
int waits_in_many_ways() {
  int ends[2], told = 0;
  if (pipe(ends) != 0) return -1;
  pollfd one{ends[0], POLLIN, 0};
  char byte = 0;
  told += 1 * poll(&one, 1, 1);  // nothing
  told += 2 * static_cast<int>(write(ends[1], "x", 1));
  told += 4 * poll(&one, 1, -1);
  told += 8 * static_cast<int>(read(ends[0], &byte, 1));
  told += 16 * (byte == 'x');
  std::thread later([&] {
    usleep(1000);
    must(write(ends[1], "y", 1), "write");
  });
  told += 32 * static_cast<int>(read(ends[0], &byte, 1));
  later.join();
  told += 64 * (byte == 'y');
  told += 128 * (accept(ends[0], nullptr, nullptr) == -1 && errno == ENOTSOCK);
  close(ends[0]), close(ends[1]);
  return told;
}

int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

struct early {
  early() : told(waits_in_many_ways()), listener(local_listener(where)) {}
  int told;
  sockaddr_in where;
  int listener;
};
__attribute__((init_priority(101))) const early before_main;

}  // namespace

TEST_SUITE("differential/peers") {
  TEST_CASE("who ends a wait that is made elsewhere has the threads he needs, however many wait") {
    alarm(60);  // nothing here is played in a process of its own
    const fd file = regular_file("");
    const std::string again = "/proc/self/fd/" + std::to_string(+file);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    const std::string fifo = "/tmp/bide-peers-" + std::to_string(getpid());
    must(mkfifo(fifo.c_str(), 0600), "mkfifo");
    const int messages = static_cast<int>(must(msgget(IPC_PRIVATE, 0600), "msgget"));
    const int semaphores = static_cast<int>(must(semget(IPC_PRIVATE, 1, 0600), "semget"));
    struct scene {
      const char* name;
      std::function<void()> first;
      std::function<bool()> waits;
      std::function<void()> then;
    };
    constexpr int many = 8;
    struct message {
      long type;
      char text[8];
    };
    const scene all[] = {
        {"flock", [&] { must(flock(file, LOCK_EX), "flock"); },
         [&] {
           const fd other(must(open(again.c_str(), O_RDWR | O_CLOEXEC), "open"));
           return flock(other, LOCK_EX) == 0;
         },
         [&] { must(flock(file, LOCK_UN), "flock"); }},
        {"F_OFD_SETLKW", [&] { must(fcntl(file, F_OFD_SETLK, &whole), "fcntl"); },
         [&] {
           const fd other(must(open(again.c_str(), O_RDWR | O_CLOEXEC), "open"));
           return fcntl(other, F_OFD_SETLKW, &whole) == 0;
         },
         [&] {
           struct flock none = whole;
           none.l_type = F_UNLCK;
           must(fcntl(file, F_OFD_SETLK, &none), "fcntl");
         }},
        {"open", [] {}, [&] { return fd(open(fifo.c_str(), O_RDONLY | O_CLOEXEC)) >= 0; },
         [&] { fd(must(open(fifo.c_str(), O_WRONLY | O_CLOEXEC), "open")); }},
        {"msgrcv", [] {},
         [&] {
           message got;
           return msgrcv(messages, &got, sizeof got.text, 0, 0) == 1;
         },
         [&] {
           const message one{1, "x"};
           for (int i = 0; i < many; ++i) must(msgsnd(messages, &one, 1, 0), "msgsnd");
         }},
        {"semop", [] {},
         [&] {
           sembuf down{0, -1, 0};
           return semop(semaphores, &down, 1) == 0;
         },
         [&] {
           sembuf up{0, many, 0};
           must(semop(semaphores, &up, 1), "semop");
         }},
    };
    for (const scene& s : all) {
      INFO(std::string(s.name));
      bide::run([&] {
        s.first();
        std::vector<bide::task<bool>> waiting;
        for (int i = 0; i < many; ++i) waiting.push_back(bide::spawn(s.waits));
        usleep(20'000);
        CHECK(bide::offload([] { return 7; }) == 7);
        CHECK(getpwnam("root"));
        s.then();
        for (auto& one : waiting) CHECK(one.get());
      }, {.offload_threads = 1});
    }
    unlink(fifo.c_str());
    msgctl(messages, IPC_RMID, nullptr);
    semctl(semaphores, 0, IPC_RMID);
    alarm(0);
  }

  TEST_CASE("threads that are no fibers wait by the same names, come and go, and leave nothing") {
    compare([](actor& me) {
      const int before = open_descriptors();
      int well = 0;
      for (int i = 0; i < 100; ++i) {
        std::thread([&] { well += waits_in_many_ways() == 254; }).join();
      }
      me.note("well", well);
      me.note("descriptors more", open_descriptors() - before);
    });
  }

  TEST_CASE("calls before main, and when the process is about to be gone, are answered") {
    CHECK(before_main.told == 254);
    compare([](actor& me) {
      const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
      if (child == 0) {
        atexit([] { _exit(waits_in_many_ways() == 254 ? 7 : 8); });
        exit(1);
      }
      int status = 0;
      must(waitpid(child, &status, 0), "waitpid");
      me.note("exit status", WEXITSTATUS(status));
    });
  }

  TEST_CASE("a wait that nobody has bounded lasts for longer than a second") {
    compare([](actor& me) {
      ends pipe = pipe_pair(), tcp = tcp_pair(), local = stream_pair(), full = stream_pair();
      const listener at = tcp_listener();
      fill(full.theirs);
      std::vector<actor*> all;
      const auto wait = [&](const char* what, auto call) {
        all.push_back(&me.start(what, [what, call](actor& one) { one.call_for(1300ms, what, call); }));
      };
      char byte;
      pollfd one{tcp.theirs, POLLIN, 0};
      wait("read of a pipe", [&] { return read(pipe.ours, &byte, 1); });
      wait("recv of TCP", [&] { return recv(tcp.ours, &byte, 1, 0); });
      wait("readv of a unix socket", [&] {
        iovec v{&byte, 1};
        return readv(local.ours, &v, 1);
      });
      wait("send to a full one", [&] { return send(full.theirs, "x", 1, 0); });
      wait("poll", [&] { return poll(&one, 1, -1); });
      wait("accept", [&] { return fd(accept(at.socket, nullptr, nullptr)) >= 0; });
      moment(1300ms);
      must(write(pipe.theirs, "x", 1), "write");
      must(write(tcp.theirs, "x", 1), "write");
      must(write(tcp.ours, "x", 1), "write");
      must(write(local.theirs, "x", 1), "write");
      empty(full.ours);
      const fd socket = tcp_socket();
      must(connect(socket, at.name(), sizeof at.address), "connect");
      for (actor* each : all) me.join(*each);
    });
  }

  TEST_CASE("a listener from before main, and one that came in a message, wait and are accepted from as any other") {
    compare([](actor& me) {
      const listener at = tcp_listener();
      ends wire = stream_pair();
      char byte = 'x';
      iovec part{&byte, 1};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* const head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(sizeof(int));
      const int number = at.socket;
      memcpy(CMSG_DATA(head), &number, sizeof number);
      must(sendmsg(wire.theirs, &message, 0), "sendmsg");
      must(recvmsg(wire.ours, &message, 0), "recvmsg");
      int came;
      memcpy(&came, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof came);
      const fd gift(came);
      for (const auto& [listens, where] : {std::pair(before_main.listener, before_main.where), std::pair(+gift, at.address)}) {
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          const fd socket = tcp_socket();
          must(connect(socket, reinterpret_cast<const sockaddr*>(&where), sizeof where), "connect");
          peer.until_waiting(me);
          must(write(socket, "hello", 5), "write");
        });
        fd got;
        me.call("accept", [&] { return (got = fd(accept(listens, nullptr, nullptr))) >= 0; });
        char room[8];
        me.call("read", [&] { return read(got, room, sizeof room); });
        me.join(peer);
      }
    });
  }

  TEST_CASE("calls of a library that is loaded late wait beside others") {
    compare([](actor& me) {
      void* const library = dlopen(LATE_LIBRARY, RTLD_NOW | RTLD_LOCAL);
      if (!library) throw broken_scenario{dlerror()};
      const auto late_read = reinterpret_cast<ssize_t (*)(int, void*, size_t)>(dlsym(library, "late_read"));
      ends e = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(write(e.theirs, "hello", 5), "write");
      });
      char room[8];
      me.call("read", [&] { return late_read(e.ours, room, sizeof room); });
      me.join(peer);
      dlclose(library);
    });
  }

  TEST_CASE("who asks by gethostbyname has its own answer when that returns, though libc's memory is one for all") {
    // Threads would need a lock around it.
    bide::run([] {
      int wrong = 0;
      std::vector<bide::task<void>> all;
      for (int i = 1; i <= 6; ++i) {
        all.push_back(bide::spawn([&wrong, i] {
          const std::string name = "127.0.0." + std::to_string(i);
          for (int turn = 0; turn < 30; ++turn) {
            const hostent* const found = turn % 2 ? gethostbyname(name.c_str()) : gethostbyname2(name.c_str(), AF_INET);
            wrong += !found || name != found->h_name || found->h_addr_list[0][3] != i;
          }
        }));
      }
      for (auto& one : all) one.get();
      CHECK(wrong == 0);
    });
  }

  TEST_CASE("a cancel leaves the connection that comes with it to who accepted it, or to the next") {
    for (const unsigned workers : {1u, 2u}) {
      CAPTURE(workers);
      bide::run([] {
        const listener at = tcp_listener(128);
        set_timeout(at.socket, SO_RCVTIMEO, 5000ms);
        int accepted = 0, taken = 0, left = 0;
        for (int turn = 0; turn < 150; ++turn) {
          auto acceptor = bide::spawn([&] { return accept(at.socket, nullptr, nullptr); });
          if (turn % 5) usleep(100);
          const fd socket = tcp_socket();
          const auto call = [&] { must(connect(socket, at.name(), sizeof at.address), "connect"); };
          if (turn % 3 == 0) call();
          if (turn % 3 == 2) call(), bide::yield();
          acceptor.cancel();
          if (turn % 3 == 1) {
            if (turn % 2) acceptor.join();
            call();
          }
          const fd got(acceptor.get());
          ++(got >= 0 ? taken : left);
          const fd next(got >= 0 ? -1 : accept(at.socket, nullptr, nullptr));
          accepted += got >= 0 || next >= 0;
        }
        CHECK(accepted == 150);
        CHECK(left > 0);
        MESSAGE("taken ", taken, ", left to the next ", left);
      }, {.workers = workers});
    }
  }

  TEST_CASE("fcntl passes on every command, and refuses what the kernel refuses") {
    compare([](actor& me) {
      int ends[2];
      must(pipe(ends), "pipe");
      me.call("F_GETPIPE_SZ after F_SETPIPE_SZ", [&] { return fcntl(ends[0], F_SETPIPE_SZ, 8192), fcntl(ends[0], F_GETPIPE_SZ); });
      me.call("F_DUPFD", [&] { return fcntl(ends[0], F_DUPFD, 300); });
      me.call("F_DUPFD_CLOEXEC", [&] { return fcntl(ends[0], F_DUPFD_CLOEXEC, 310); });
      me.call("F_GETFD", [&] { return fcntl(310, F_GETFD); });
      const int file = memfd_create("sealed", MFD_ALLOW_SEALING);
      me.call("F_ADD_SEALS", [&] { return fcntl(file, F_ADD_SEALS, F_SEAL_GROW); });
      me.call("F_GET_SEALS", [&] { return fcntl(file, F_GET_SEALS); });
      struct flock whole {};
      whole.l_type = F_WRLCK;
      me.call("F_OFD_SETLK", [&] { return fcntl(file, F_OFD_SETLK, &whole); });
      for (const int flags : {O_RDONLY | O_NONBLOCK, O_RDONLY}) {
        me.call("F_SETFL", [&] { return fcntl(ends[0], F_SETFL, flags); });
        me.call("F_GETFL", [&] { return fcntl(ends[0], F_GETFL); });
      }
      int on = 1;
      me.call("FIONBIO", [&] { return ioctl(ends[1], FIONBIO, &on); });
      me.call("F_GETFL", [&] { return fcntl(ends[1], F_GETFL); });
      me.call("FIOCLEX, which has no argument", [&] { return ioctl(ends[0], FIOCLEX); });
      me.call("F_GETFD", [&] { return fcntl(ends[0], F_GETFD); });
      me.call("no command", [&] { return fcntl(file, 12345); });
      me.call("no descriptor", [&] { return fcntl(-1, F_GETFL); });
      // What F_DUPFD made waits by the pipe it came from.
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return write(ends[1], "x", 1); });
      });
      char byte;
      me.call("read of the duplicate", [&] { return read(300, &byte, 1); });
      me.join(peer);
      for (const int fd : {300, 310, file, ends[0], ends[1]}) close(fd);
    });
  }

  TEST_CASE("a socket made SOCK_CLOEXEC or SOCK_NONBLOCK is connected as its flags say") {
    compare([](actor& me) {
      sockaddr_in where;
      const int server = local_listener(where);
      const auto* at = reinterpret_cast<sockaddr*>(&where);
      const int blocking = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      me.call("connect", [&] { return connect(blocking, at, sizeof where); });
      const int never_waits = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      char byte;
      me.call("connect that doesn't wait", [&] { return connect(never_waits, at, sizeof where); });
      pollfd done{never_waits, POLLOUT, 0};
      me.call("poll", [&] { return poll(&done, 1, 1000); });
      me.call("read", [&] { return read(never_waits, &byte, 1); });
      for (const int fd : {server, blocking, never_waits}) close(fd);
    });
  }

  TEST_CASE("a descriptor that a plain thread made waits on a fiber, and one that a fiber made waits on a plain thread") {
    compare([](actor& me) {
      sockaddr_in where;
      int server = -1;
      std::thread([&] { server = local_listener(where); }).join();
      const int client = socket(AF_INET, SOCK_STREAM, 0);
      std::thread other([&] {
        usleep(50'000);
        must(connect(client, reinterpret_cast<sockaddr*>(&where), sizeof where), "connect");
        char byte;
        must(read(client, &byte, 1), "read");
      });
      int peer = -1;
      me.call("accept", [&] { return (peer = accept(server, nullptr, nullptr)) >= 0; });
      usleep(50'000);
      me.call("write", [&] { return write(peer, "x", 1); });
      other.join();
      for (const int fd : {server, client, peer}) close(fd);
    });
  }
}
