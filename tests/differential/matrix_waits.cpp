// The matrix's calls that wait for something else than bytes of one descriptor: connections, time, locks, queues, and what
// moves bytes between two.
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <cstdlib>

#include "matrix_cells.hpp"
#include "matrix_play.hpp"
#include "things.hpp"

namespace differential {

namespace {

// A call that would wait, and what another can do about it.
struct scene {
  std::function<long()> go;
  std::function<long()> at_once;     // in the form that doesn't wait; empty: there is none
  std::function<long()> in_time;     // in the form that waits 60 ms at most; empty: there is none
  std::function<long()> go_wrong;    // with a bad pointer; empty: it takes none
  std::function<void()> free;        // it can be done now; empty: it ends by itself
  std::function<long()> rest;        // what another sees afterwards
  milliseconds takes{0};             // of what ends by itself
};

struct waiting {
  std::string call, kind;
  bool is_cancelled;  // by pthread_cancel: libc's call is a cancellation point
  scene (*set)(milliseconds length);  // `length`: of what ends by itself
};

constexpr milliseconds limit = 60ms, long_enough = 5s;

timespec to_timespec(milliseconds length) { return {length.count() / 1000, length.count() % 1000 * 1'000'000}; }
timespec from_now(clockid_t clock, milliseconds length) {
  timespec at{};
  clock_gettime(clock, &at);
  const long ns = at.tv_nsec + length.count() % 1000 * 1'000'000;
  return {at.tv_sec + length.count() / 1000 + ns / 1'000'000'000, ns % 1'000'000'000};
}

std::shared_ptr<fd> shared(fd one) { return std::make_shared<fd>(std::move(one)); }

// What is taken is closed again: whether it was is what counts.
long taken(long fresh) {
  if (fresh >= 0) fd(fresh).close();
  return fresh >= 0 ? 0 : -1;
}

template <class Accept>
scene accepting(fd made, std::function<fd()> client, Accept accept) {
  const auto at = shared(std::move(made));
  const auto from = shared(fd());
  scene s;
  s.go = [=] { return taken(accept(*at, 0)); };
  s.at_once = [=] { return set_nonblocking(*at), taken(accept(*at, 0)); };
  s.in_time = [=] { return set_timeout(*at, SO_RCVTIMEO, limit), taken(accept(*at, 0)); };
  s.free = [=] { *from = client(); };
  s.rest = [=]() -> long {
    pollfd left{*at, POLLIN, 0};
    return poll(&left, 1, 0);
  };
  return s;
}

template <class Accept>
scene accepting_tcp(Accept accept) {
  listener at = tcp_listener();
  const sockaddr_in address = at.address;
  return accepting(std::move(at.socket), [address] {
    fd client = tcp_socket();
    must(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
    return client;
  }, accept);
}
template <class Accept>
scene accepting_unix(Accept accept) {
  const unix_name name(1);
  return accepting(unix_listener(name, 16), [name] {
    fd client(must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
    must(connect(client, name.name(), name.length), "connect");
    return client;
  }, accept);
}

long by_accept(int at, int) { return accept(at, nullptr, nullptr); }
long by_accept4(int at, int) { return accept4(at, nullptr, nullptr, SOCK_CLOEXEC); }

// To a unix listener whose queue is full.
scene connecting(int type) {
  const unix_name name(2);
  const auto at = shared(unix_listener(name, 0, type));
  const auto first = shared(fd(must(socket(AF_UNIX, type | SOCK_CLOEXEC, 0), "socket")));
  const auto mine = shared(fd(must(socket(AF_UNIX, type | SOCK_CLOEXEC, 0), "socket")));
  must(connect(*first, name.name(), name.length), "connect");
  scene s;
  s.go = [=]() -> long { return connect(*mine, name.name(), name.length); };
  s.at_once = [=]() -> long { return set_nonblocking(*mine), connect(*mine, name.name(), name.length); };
  s.in_time = [=]() -> long { return set_timeout(*mine, SO_SNDTIMEO, limit), connect(*mine, name.name(), name.length); };
  s.go_wrong = [=]() -> long { return connect(*mine, static_cast<sockaddr*>(bad_address()), name.length); };
  s.free = [=] { taken(accept(*at, nullptr, nullptr)); };
  s.rest = [=]() -> long {
    pollfd left{*at, POLLIN, 0};
    return poll(&left, 1, 0);
  };
  return s;
}

scene sleeping(std::function<long(milliseconds)> sleep_for, milliseconds length) {
  scene s;
  s.go = [=] { return sleep_for(length); };
  s.takes = length;
  return s;
}

// Of a file that another description has locked.
scene locking(std::function<long(int, short)> take, std::function<long(int)> try_it) {
  char path[] = "/tmp/bide-matrix-XXXXXX";
  const auto mine = shared(fd(must(mkostemp(path, O_CLOEXEC), "mkostemp")));
  const auto theirs = shared(fd(must(open(path, O_RDWR | O_CLOEXEC), "open")));
  unlink(path);
  must(take(*theirs, F_WRLCK), "the first lock");
  scene s;
  s.go = [=] { return take(*mine, F_WRLCK); };
  if (try_it) s.at_once = [=] { return try_it(*mine); };
  s.free = [=] { must(take(*theirs, F_UNLCK), "unlocking"); };
  s.rest = [=]() -> long { return flock(*theirs, LOCK_EX | LOCK_NB); };
  return s;
}

long by_flock(int file, short how) { return flock(file, how == F_UNLCK ? LOCK_UN : LOCK_EX); }
long by_fcntl(int file, int command, short how) {
  struct flock whole {};
  whole.l_type = how;
  return fcntl(file, command, &whole);
}

struct semaphore_set {
  const int id = static_cast<int>(must(semget(IPC_PRIVATE, 1, 0600), "semget"));
  ~semaphore_set() { semctl(id, 0, IPC_RMID); }
};

scene taking_semaphore(bool timed) {
  const auto set = std::make_shared<semaphore_set>();
  const auto change = [set](short by, short flags) -> long {
    sembuf one{0, by, flags};
    return semop(set->id, &one, 1);
  };
  const auto change_in_time = [set](const timespec& length) -> long {
    sembuf one{0, -1, 0};
    return semtimedop(set->id, &one, 1, &length);
  };
  scene s;
  s.go = [=] { return timed ? change_in_time(to_timespec(long_enough)) : change(-1, 0); };
  s.at_once = [=] { return change(-1, IPC_NOWAIT); };
  if (timed) s.in_time = [=] { return change_in_time(to_timespec(limit)); };
  s.go_wrong = [set]() -> long { return semop(set->id, static_cast<sembuf*>(bad_address()), 1); };
  s.free = [=] { must(change(1, 0), "semop"); };
  s.rest = [set]() -> long { return semctl(set->id, 0, GETVAL); };
  return s;
}

struct message {
  long type;
  char text[8];
};
struct message_queue {
  const int id = static_cast<int>(must(msgget(IPC_PRIVATE, 0600), "msgget"));
  ~message_queue() { msgctl(id, IPC_RMID, nullptr); }
  long send(int flags) const {
    const message one{1, "hello"};
    return msgsnd(id, &one, 6, flags);
  }
  long receive(int flags) const {
    message one{};
    return msgrcv(id, &one, sizeof one.text, 0, flags);
  }
  long left() const {
    msqid_ds now{};
    return msgctl(id, IPC_STAT, &now) == 0 ? static_cast<long>(now.msg_qnum) : -1;
  }
};

scene with_messages(bool sends) {
  const auto q = std::make_shared<message_queue>();
  if (sends) {
    msqid_ds how{};
    must(msgctl(q->id, IPC_STAT, &how), "msgctl");
    how.msg_qbytes = 6;
    must(msgctl(q->id, IPC_SET, &how), "msgctl");
    must(q->send(0), "msgsnd");
  }
  scene s;
  s.go = [=] { return sends ? q->send(0) : q->receive(0); };
  s.at_once = [=] { return sends ? q->send(IPC_NOWAIT) : q->receive(IPC_NOWAIT); };
  s.free = [=] { must(sends ? q->receive(0) : q->send(0), "the other side"); };
  s.rest = [=] { return q->left(); };
  return s;
}

struct full_at_one : posix_queue {
  full_at_one() : posix_queue(1, O_CLOEXEC) {}
  long transfer(bool sends, const timespec* until) const {
    char room[16] = "hello";
    if (sends) return until ? mq_timedsend(id, room, 6, 0, until) : mq_send(id, room, 6, 0);
    return until ? mq_timedreceive(id, room, sizeof room, nullptr, until) : mq_receive(id, room, sizeof room, nullptr);
  }
  long left() const {
    mq_attr now{};
    return mq_getattr(id, &now) == 0 ? now.mq_curmsgs : -1;
  }
};

scene with_posix_queue(bool sends, bool timed) {
  const auto q = std::make_shared<full_at_one>();
  if (sends) must(q->transfer(true, nullptr), "mq_send");
  const auto by = [=](milliseconds length) {
    const timespec until = from_now(CLOCK_REALTIME, length);
    return q->transfer(sends, &until);
  };
  scene s;
  s.go = [=] { return timed ? by(long_enough) : q->transfer(sends, nullptr); };
  s.at_once = [=] { return set_nonblocking(q->id), q->transfer(sends, nullptr); };
  if (timed) s.in_time = [=] { return by(limit); };
  s.free = [=] { must(q->transfer(!sends, nullptr), "the other side"); };
  s.rest = [=] { return q->left(); };
  return s;
}

// Between two pipes, of which the first is empty: `move` from its reader to the other's writer.
scene moving(std::function<long(int from, int to, unsigned flags)> move) {
  const auto from = std::make_shared<ends>(pipe_pair()), to = std::make_shared<ends>(pipe_pair());
  scene s;
  s.go = [=] { return move(from->ours, to->theirs, 0); };
  s.at_once = [=] { return move(from->ours, to->theirs, SPLICE_F_NONBLOCK); };
  s.free = [=] { must(write(from->theirs, "hello", 5), "write"); };
  s.rest = [=]() -> long {
    int left = 0, there = 0;
    ioctl(from->ours, FIONREAD, &left);
    ioctl(to->ours, FIONREAD, &there);
    return left * 100 + there;
  };
  return s;
}

// Into a pipe or socket that is full.
scene pouring(ends made, std::function<long(int to, unsigned flags)> pour) {
  const auto e = std::make_shared<ends>(std::move(made));
  const std::size_t full = fill(e->theirs);
  scene s;
  s.go = [=] { return pour(e->theirs, 0); };
  s.at_once = [=] { return pour(e->theirs, SPLICE_F_NONBLOCK); };
  s.free = [=] { read_all(e->ours, full); };
  s.rest = [=]() -> long {
    int there = 0;
    ioctl(e->ours, FIONREAD, &there);
    return there;
  };
  return s;
}

const waiting waits[] = {
    {"accept", "tcp", true, [](milliseconds) { return accepting_tcp(by_accept); }},
    {"accept", "unix stream", true, [](milliseconds) { return accepting_unix(by_accept); }},
    {"accept4", "tcp", true, [](milliseconds) { return accepting_tcp(by_accept4); }},
    {"accept4", "unix stream", true, [](milliseconds) { return accepting_unix(by_accept4); }},
    {"connect", "unix stream", true, [](milliseconds) { return connecting(SOCK_STREAM); }},
    {"connect", "unix seqpacket", true, [](milliseconds) { return connecting(SOCK_SEQPACKET); }},
    {"nanosleep", "time", true, [](milliseconds length) {
       return sleeping([](milliseconds ms) -> long {
         const timespec t = to_timespec(ms);
         return nanosleep(&t, nullptr);
       }, length);
     }},
    {"clock_nanosleep", "time", true, [](milliseconds length) {
       return sleeping([](milliseconds ms) -> long {
         const timespec t = from_now(CLOCK_MONOTONIC, ms);
         return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
       }, length);
     }},
    {"usleep", "time", true, [](milliseconds length) {
       return sleeping([](milliseconds ms) -> long { return usleep(static_cast<useconds_t>(ms.count() * 1000)); }, length);
     }},
    {"sleep", "time", true, [](milliseconds length) {
       const auto whole = std::max<milliseconds>(length, 1s);
       return sleeping([](milliseconds ms) -> long { return sleep(static_cast<unsigned>(ms / 1s)) > 0; }, whole);
     }},
    {"flock", "lock", false, [](milliseconds) {
       return locking(by_flock, [](int file) -> long { return flock(file, LOCK_EX | LOCK_NB); });
     }},
    {"fcntl F_OFD_SETLKW", "lock", true, [](milliseconds) {
       return locking([](int file, short how) { return by_fcntl(file, F_OFD_SETLKW, how); },
                      [](int file) { return by_fcntl(file, F_OFD_SETLK, F_WRLCK); });
     }},
    {"semop", "semaphore", false, [](milliseconds) { return taking_semaphore(false); }},
    {"semtimedop", "semaphore", false, [](milliseconds) { return taking_semaphore(true); }},
    {"msgrcv", "System V queue", true, [](milliseconds) { return with_messages(false); }},
    {"msgsnd", "System V queue", true, [](milliseconds) { return with_messages(true); }},
    {"mq_receive", "POSIX queue", true, [](milliseconds) { return with_posix_queue(false, false); }},
    {"mq_send", "POSIX queue", true, [](milliseconds) { return with_posix_queue(true, false); }},
    {"mq_timedreceive", "POSIX queue", true, [](milliseconds) { return with_posix_queue(false, true); }},
    {"mq_timedsend", "POSIX queue", true, [](milliseconds) { return with_posix_queue(true, true); }},
    {"splice", "pipe", true, [](milliseconds) {
       return moving([](int from, int to, unsigned flags) { return splice(from, nullptr, to, nullptr, 64, flags); });
     }},
    {"tee", "pipe", true, [](milliseconds) {
       return moving([](int from, int to, unsigned flags) -> long { return tee(from, to, 64, flags); });
     }},
    {"vmsplice", "pipe", true, [](milliseconds) {
       return pouring(pipe_pair(), [](int to, unsigned flags) {
         static char bytes[] = "hello";
         const iovec part{bytes, 5};
         return vmsplice(to, &part, 1, flags);
       });
     }},
    {"sendfile", "pipe", false, [](milliseconds) {
       const auto file = shared(regular_file("hello"));
       return pouring(pipe_pair(), [file](int to, unsigned flags) -> long {
         if (flags) set_nonblocking(to);
         off_t at = 0;
         return sendfile(to, *file, &at, 5);
       });
     }},
    {"sendfile", "unix stream", false, [](milliseconds) {
       const auto file = shared(regular_file("hello"));
       return pouring(stream_pair(), [file](int to, unsigned flags) -> long {
         if (flags) set_nonblocking(to);
         return sendfile(to, *file, nullptr, 5);
       });
     }},
};

// What is noted of a scene: the call, and what it leaves.
void show_scene(actor& me, const scene& s, const std::function<long()>& go, const end_of_wait& end) {
  play(me, go, end);
  if (s.rest) me.note("rest", s.rest());
}

}  // namespace

void add_waits(std::vector<cell>& to) {
  for (const waiting& w : waits) {
    const auto add = [&](std::string condition, script tell) { to.push_back({w.call, std::move(condition), w.kind, std::move(tell)}); };
    const scene probe = w.set(limit);
    if (probe.free) add("there", [&w](actor& me) {
      const scene s = w.set(limit);
      s.free();
      show_scene(me, s, s.go, {});
    });
    add("waits", [&w](actor& me) {
      const scene s = w.set(limit);
      show_scene(me, s, s.go, {.help = s.free, .time = s.free ? 0ms : s.takes});
    });
    if (probe.at_once) add("O_NONBLOCK", [&w](actor& me) {
      const scene s = w.set(limit);
      show_scene(me, s, s.at_once, {});
    });
    if (probe.in_time) add("timeout", [&w](actor& me) {
      const scene s = w.set(limit);
      show_scene(me, s, s.in_time, {.time = limit});
    });
    if (probe.go_wrong) add("bad pointer", [&w](actor& me) {
      const scene s = w.set(limit);
      show_scene(me, s, s.go_wrong, {});
    });
    for (const int flags : {0, SA_RESTART}) add(flags ? "signal, SA_RESTART" : "signal", [&w, flags](actor& me) {
      const scene s = w.set(long_enough);
      const counting_handler handler(SIGUSR1, flags);
      show_scene(me, s, s.go, {.help = s.free, .handler = &handler, .restarts = flags != 0});
    });
    if (w.is_cancelled) add("cancelled", [&w](actor& me) {
      const scene s = w.set(long_enough);
      cancel_and_look(me, s.go, s.free);
      if (s.rest) me.note("rest", s.rest());
    });
  }
}

}  // namespace differential
