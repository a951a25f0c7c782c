// Queues, semaphores and locks.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <unistd.h>

#include <memory>

#include "call/faulty_call.hpp"
#include "support/descriptors.hpp"

namespace unit {
namespace {

using bide::sys::raw;

// System V's outlive who forgets them.
struct kept {
  int id, (*drop)(int);
  ~kept() { drop(id); }
};

struct letter {
  long type;
  char text[8];
};

struct places {
  kept semaphore{::semget(IPC_PRIVATE, 1, 0600), [](int id) { return ::semctl(id, 0, IPC_RMID); }};
  kept mail{::msgget(IPC_PRIVATE, 0600), [](int id) { return ::msgctl(id, IPC_RMID, nullptr); }};
  fd queue, file, other;
  char path[32] = "/tmp/bide-faults.XXXXXX", buffer[8] = {};
  struct flock lock{F_WRLCK, SEEK_SET, 0, 0, 0};
  unsigned word = 0;
  futex_waitv waiters{0, reinterpret_cast<std::uintptr_t>(&word), FUTEX_32, 0};

  places() {
    const std::string name = "bide-faults." + std::to_string(::getpid());
    mq_attr size{};
    size.mq_maxmsg = 8;
    size.mq_msgsize = sizeof buffer;
    queue = fd(raw(SYS_mq_open, name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600, &size));
    raw(SYS_mq_unlink, name.c_str());
    file = fd(::mkstemp(path));
    other = fd(::open(path, O_RDWR | O_CLOEXEC));
    ::unlink(path);
  }

  void set_semaphore(int value) { ::semctl(semaphore.id, 0, SETVAL, value); }
  void empty_mail() {
    letter l;
    while (::msgrcv(mail.id, &l, sizeof l.text, 0, IPC_NOWAIT) >= 0) {}
  }
  void fill_mail(int most) {
    empty_mail();
    constexpr letter l{1, "letter"};
    for (int i = 0; i < most && ::msgsnd(mail.id, &l, sizeof l.text, IPC_NOWAIT) == 0; ++i) {}
  }
  void empty_queue() {
    constexpr timespec past{};
    while (raw(SYS_mq_timedreceive, +queue, buffer, sizeof buffer, nullptr, &past) >= 0) {}
  }
  void fill_queue() {
    constexpr timespec past{};
    while (raw(SYS_mq_timedsend, +queue, buffer, sizeof buffer, 0, &past) == 0) {}
  }
  void lock_by_other(short type) {
    raw(SYS_flock, +other, type == F_UNLCK ? LOCK_UN : LOCK_EX);
    struct flock whole = lock;
    whole.l_type = type;
    raw(SYS_fcntl, +other, F_OFD_SETLK, &whole);
  }
};

}  // namespace

faulty_calls faulty_queues() {
  const auto p = std::make_shared<places>();
  const std::vector<int> of_system_v{EIDRM, ENOMEM, EINTR}, of_locks{ENOLCK, EINTR};
  faulty_calls all;
  const auto add = [&](const char* name, long nr, long attempted, const std::vector<int>& errors,
                       std::function<long()> make) -> faulty_call& {
    all.push_back({name, nr, attempted, errors, std::move(make)});
    return all.back();
  };
  const auto take = [p](long nr) {
    return [p, nr] {
      sembuf down{0, -1, 0};
      return make_call(nr, p->semaphore.id, &down, 1, nullptr);
    };
  };
  for (const auto& [name, nr] : {std::pair{"semop", SYS_semop}, std::pair{"semtimedop", SYS_semtimedop}}) {
    add(name, nr, SYS_semtimedop, of_system_v, take(nr)).waits_elsewhere(-EAGAIN).never_restarts()
        .between([p] { p->set_semaphore(0); }, [p] { p->set_semaphore(64); });
  }
  add("msgsnd", SYS_msgsnd, SYS_msgsnd, of_system_v, [p] {
    constexpr letter l{1, "letter"};
    return make_call(SYS_msgsnd, p->mail.id, &l, sizeof l.text, 0);
  }).waits_elsewhere(-EAGAIN).never_restarts().between([p] { p->fill_mail(1 << 20); }, [p] { p->empty_mail(); });
  add("msgrcv", SYS_msgrcv, SYS_msgrcv, {EIDRM, E2BIG, EINTR}, [p] {
    letter l;
    return make_call(SYS_msgrcv, p->mail.id, &l, sizeof l.text, 0, 0);
  }).waits_elsewhere(-ENOMSG).never_restarts().between([p] { p->empty_mail(); }, [p] { p->fill_mail(64); });

  // With a limit that is past it doesn't wait: mq_receive(3).
  add("mq_timedsend", SYS_mq_timedsend, SYS_mq_timedsend, {EINTR, ENOMEM},
      [p] { return make_call(SYS_mq_timedsend, p->queue, p->buffer, sizeof p->buffer, 0, nullptr); })
      .parks(-ETIMEDOUT).between([p] { p->fill_queue(); }, [p] { p->empty_queue(); });
  add("mq_timedreceive", SYS_mq_timedreceive, SYS_mq_timedreceive, {EINTR, EBADMSG},
      [p] { return make_call(SYS_mq_timedreceive, p->queue, p->buffer, sizeof p->buffer, nullptr, nullptr); })
      .parks(-ETIMEDOUT).between([p] { p->empty_queue(); }, [p] { p->fill_queue(); });

  add("flock", SYS_flock, SYS_flock, of_locks, [p] {
    const long n = make_call(SYS_flock, p->file, LOCK_EX);
    raw(SYS_flock, +p->file, LOCK_UN);
    return n;
  }).waits_elsewhere(-EWOULDBLOCK).between([p] { p->lock_by_other(F_WRLCK); }, [p] { p->lock_by_other(F_UNLCK); });
  add("fcntl, a lock", SYS_fcntl, SYS_fcntl, {EDEADLK, ENOLCK, EINTR}, [p] {
    const long n = make_call(SYS_fcntl, p->file, F_OFD_SETLKW, &p->lock);
    struct flock whole = p->lock;
    whole.l_type = F_UNLCK;
    raw(SYS_fcntl, +p->file, F_OFD_SETLK, &whole);
    return n;
  }).waits_elsewhere(-EAGAIN).between([p] { p->lock_by_other(F_WRLCK); }, [p] { p->lock_by_other(F_UNLCK); });

  // Of words that others may share, and who waits in the kernel; the waits of fibers alone ask nothing of it (futex_test.cpp).
  add("futex, a wake", SYS_futex, SYS_futex, {EFAULT, EINVAL},
      [p] { return make_call(SYS_futex, &p->word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); });
  add("futex, a wait that is late", SYS_futex, SYS_futex, {EFAULT, EINVAL, ETIMEDOUT},
      [p] { return make_call(SYS_futex, &p->word, FUTEX_WAIT, 1, nullptr, nullptr, 0); })
      .answers([](long n) { return n == -EAGAIN; }).elsewhere = true;
  add("futex_waitv", SYS_futex_waitv, SYS_futex_waitv, {EFAULT, EINVAL, ETIMEDOUT}, [p] {
    p->waiters.val = 1;
    return make_call(SYS_futex_waitv, &p->waiters, 1, 0, nullptr, CLOCK_MONOTONIC);
  }).answers([](long n) { return n == -EAGAIN; }).elsewhere = true;
  return all;
}

}  // namespace unit
