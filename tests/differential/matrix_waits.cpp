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

#include "matrix_scenes.hpp"

namespace differential {

namespace {

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
  s.go = [=] { return taken(accept(*at, nullptr)); };
  s.at_once = [=] { return set_nonblocking(*at), taken(accept(*at, nullptr)); };
  s.in_time = [=] { return set_timeout(*at, SO_RCVTIMEO, limit), taken(accept(*at, nullptr)); };
  s.go_wrong = [=] { return *from = client(), taken(accept(*at, bad_address())); };
  s.go_nowhere = [=] { return taken(accept(-1, nullptr)); };
  s.close = [=] { at->close(); };
  s.shut = [=] { shutdown(*at, SHUT_RDWR); };
  s.meant_if_closed = {{"first: call -> 0", "first: call -> -1 EBADF"}};
  s.free = [=] { *from = client(); };
  s.rest = [=] {
    pollfd left{*at, POLLIN, 0};
    return std::to_string(poll(&left, 1, 0)) + " ready";
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

// `address`: where the client's goes; null for nowhere.
long by_accept(int at, void* address) {
  socklen_t length = sizeof(sockaddr_storage);
  return accept(at, static_cast<sockaddr*>(address), address ? &length : nullptr);
}
long by_accept4(int at, void* address) {
  socklen_t length = sizeof(sockaddr_storage);
  return accept4(at, static_cast<sockaddr*>(address), address ? &length : nullptr, SOCK_CLOEXEC);
}

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
  s.go_nowhere = [=]() -> long { return connect(-1, name.name(), name.length); };
  s.free = [=] { taken(accept(*at, nullptr, nullptr)); };
  s.rest = [=] {
    pollfd left{*at, POLLIN, 0};
    return std::to_string(poll(&left, 1, 0)) + " ready";
  };
  return s;
}

// To a TCP listener whose queue is full, which the kernel tries again after a second.
scene connecting_tcp() {
  const auto full = std::make_shared<full_listener>();
  const auto mine = shared(tcp_socket());
  scene s;
  s.go = [=]() -> long { return connect(*mine, full->at.name(), sizeof full->at.address); };
  s.at_once = [=]() -> long { return set_nonblocking(*mine), connect(*mine, full->at.name(), sizeof full->at.address); };
  s.in_time = [=]() -> long {
    return set_timeout(*mine, SO_SNDTIMEO, limit), connect(*mine, full->at.name(), sizeof full->at.address);
  };
  s.free = [=] {
    for (std::size_t i = 0; i < full->filling.size(); ++i) taken(accept(full->at.socket, nullptr, nullptr));
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
  s.go_nowhere = [=] { return take(-1, F_WRLCK); };
  s.free = [=] { must(take(*theirs, F_UNLCK), "unlocking"); };
  s.rest = [=] { return std::string(flock(*theirs, LOCK_EX | LOCK_NB) == 0 ? "not locked" : "locked"); };
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
  s.go_nowhere = []() -> long {
    sembuf one{0, -1, 0};
    return semop(-1, &one, 1);
  };
  s.go_wrong = [set]() -> long { return semop(set->id, static_cast<sembuf*>(bad_address()), 1); };
  s.free = [=] { must(change(1, 0), "semop"); };
  s.rest = [set] { return std::to_string(semctl(set->id, 0, GETVAL)) + " left"; };
  return s;
}

struct message {
  long type;
  char text[8];
};
struct message_queue {
  const int id = static_cast<int>(must(msgget(IPC_PRIVATE, 0600), "msgget"));
  const std::shared_ptr<std::string> taken = std::make_shared<std::string>();  // all that was received
  ~message_queue() { msgctl(id, IPC_RMID, nullptr); }
  long send(int flags) const {
    const message one{1, "hello"};
    return msgsnd(id, &one, 6, flags);
  }
  long receive(int flags) const {
    message one{};
    const long n = msgrcv(id, &one, sizeof one.text, 0, flags);
    *taken += first(one.text, n);
    return n;
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
  s.go_nowhere = [=]() -> long {
    message one{1, "hello"};
    return sends ? msgsnd(-1, &one, 6, 0) : msgrcv(-1, &one, 6, 0, 0);
  };
  s.at_once = [=] { return sends ? q->send(IPC_NOWAIT) : q->receive(IPC_NOWAIT); };
  s.free = [=] { must(sends ? q->receive(0) : q->send(0), "the other side"); };
  s.rest = [=] { return std::to_string(q->left()) + " left, taken \"" + *q->taken + "\""; };
  return s;
}

struct full_at_one : posix_queue {
  full_at_one() : posix_queue(1, O_CLOEXEC) {}
  long transfer(bool sends, const timespec* until) const {
    char room[16] = "hello";
    if (sends) return until ? mq_timedsend(id, room, 6, 0, until) : mq_send(id, room, 6, 0);
    const long n = until ? mq_timedreceive(id, room, sizeof room, nullptr, until) : mq_receive(id, room, sizeof room, nullptr);
    *taken += first(room, n);
    return n;
  }
  const std::shared_ptr<std::string> taken = std::make_shared<std::string>();  // all that was received
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
  s.go_nowhere = [=]() -> long {
    char room[16] = "hello";
    return sends ? mq_send(-1, room, 6, 0) : mq_receive(-1, room, sizeof room, nullptr);
  };
  s.free = [=] { must(q->transfer(!sends, nullptr), "the other side"); };
  s.rest = [=] { return std::to_string(q->left()) + " left, taken \"" + *q->taken + "\""; };
  return s;
}

const waiting waits[] = {
    {"accept", "tcp", true, [](milliseconds) { return accepting_tcp(by_accept); }},
    {"accept", "unix stream", true, [](milliseconds) { return accepting_unix(by_accept); }},
    {"accept4", "tcp", true, [](milliseconds) { return accepting_tcp(by_accept4); }},
    {"accept4", "unix stream", true, [](milliseconds) { return accepting_unix(by_accept4); }},
    {"connect", "unix stream", true, [](milliseconds) { return connecting(SOCK_STREAM); }},
    {"connect", "unix seqpacket", true, [](milliseconds) { return connecting(SOCK_SEQPACKET); }},
    {"connect", "tcp", true, [](milliseconds) { return connecting_tcp(); }},
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
};

}  // namespace

void add_waits(std::vector<cell>& to) { add_scenes(to, waits); }

}  // namespace differential
