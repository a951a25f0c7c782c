// Message queues and semaphores: System V's, which have no descriptor, and POSIX's queues, which are one on Linux.
#include <errno.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "lib/base/arena.hpp"
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"

namespace bide::call {
namespace {

constexpr long most_operations = 500;  // semop(2): SEMOPM

// signal(7): System V's calls are never restarted.
long wait_elsewhere(const char* name, long nr, long a, long b, long c, long d, long e = 0) noexcept {
  const long answer = offloaded(name, -1, restarts::no, nr, a, b, c, d, e);
  if (answer == -EINTR) not_restarted();
  return answer;
}

// mq_receive(3): a time limit that is past is looked at only where the call would wait.
long use_queue(long nr, long queue, long message, long size, long priority, long limit, readiness which,
               const char* name) noexcept {
  std::int64_t until = base::never;
  if (limit) {
    if (const long error = read_time(reinterpret_cast<void*>(limit), until)) return error;
    until = from_realtime(until);
  }
  constexpr timespec past{0, 0};
  for (;;) {
    const long now = attempt(nr, queue, message, size, priority, &past);
    if (now != -ETIMEDOUT) return now;
    const long end = await_ready(static_cast<int>(queue), which, name, until);
    if (end == -ETIME) return attempt(nr, queue, message, size, priority, &past);
    if (end) return end;
  }
}

}  // namespace

long semtimedop_call(long set, long operations, long count, long limit, long, long) {
  if (count <= 0 || count > most_operations) return attempt(SYS_semtimedop, set, operations, count, limit);
  std::int64_t length;
  if (limit) {
    if (const long error = read_time(reinterpret_cast<void*>(limit), length)) return error;
  }
  const base::room<sembuf> tries(static_cast<std::size_t>(count));
  if (!tries.get()) return -ENOMEM;
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(sembuf);
  if (const long error = copy_in(tries.get(), reinterpret_cast<void*>(operations), bytes)) return error;
  for (long i = 0; i < count; ++i) tries.get()[i].sem_flg |= IPC_NOWAIT;
  const long now = attempt(SYS_semtimedop, set, tries.get(), count, nullptr);
  // Which of them would have waited, and whether it may, is for the kernel to say.
  return now != -EAGAIN ? now : wait_elsewhere("semop", SYS_semtimedop, set, operations, count, limit);
}

long semop_call(long set, long operations, long count, long, long, long) {
  return semtimedop_call(set, operations, count, 0, 0, 0);
}

long msgsnd_call(long queue, long message, long size, long flags, long, long) {
  const long now = attempt(SYS_msgsnd, queue, message, size, flags | IPC_NOWAIT);
  if (now != -EAGAIN || (flags & IPC_NOWAIT)) return now;
  return wait_elsewhere("msgsnd", SYS_msgsnd, queue, message, size, flags);
}

long msgrcv_call(long queue, long message, long size, long type, long flags, long) {
  const long now = attempt(SYS_msgrcv, queue, message, size, type, flags | IPC_NOWAIT);
  if (now != -ENOMSG || (flags & IPC_NOWAIT)) return now;
  return wait_elsewhere("msgrcv", SYS_msgrcv, queue, message, size, type, flags);
}

long mq_timedsend_call(long queue, long message, long size, long priority, long limit, long) {
  return use_queue(SYS_mq_timedsend, queue, message, size, priority, limit, readiness::writable, "mq_send");
}

long mq_timedreceive_call(long queue, long message, long size, long priority, long limit, long) {
  return use_queue(SYS_mq_timedreceive, queue, message, size, priority, limit, readiness::readable, "mq_receive");
}

}  // namespace bide::call
