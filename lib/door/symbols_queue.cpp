// Message queues and semaphores that have no memory of their own: System V's and POSIX's queues.
#include <mqueue.h>
#include <sys/eventfd.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <unistd.h>

#include "lib/door/door.hpp"

BIDE_FAILING_DOOR(int, semop, (int set, sembuf* what, size_t count), (set, what, count), SYS_semop)
BIDE_FAILING_DOOR(int, semtimedop, (int set, sembuf* what, size_t count, const timespec* limit), (set, what, count, limit),
                  SYS_semtimedop)
BIDE_DOOR(int, msgsnd, (int queue, const void* from, size_t size, int flags), (queue, from, size, flags), SYS_msgsnd)
BIDE_DOOR(ssize_t, msgrcv, (int queue, void* to, size_t size, long type, int flags), (queue, to, size, type, flags),
          SYS_msgrcv)

BIDE_DOOR_WITH(int, mq_send, (mqd_t queue, const char* from, size_t size, unsigned priority),
               (queue, from, size, priority), (SYS_mq_timedsend, queue, from, size, priority, nullptr))
BIDE_DOOR(int, mq_timedsend, (mqd_t queue, const char* from, size_t size, unsigned priority, const timespec* limit),
          (queue, from, size, priority, limit), SYS_mq_timedsend)
BIDE_DOOR_WITH(ssize_t, mq_receive, (mqd_t queue, char* to, size_t size, unsigned* priority),
               (queue, to, size, priority), (SYS_mq_timedreceive, queue, to, size, priority, nullptr))
BIDE_DOOR(ssize_t, mq_timedreceive, (mqd_t queue, char* to, size_t size, unsigned* priority, const timespec* limit),
          (queue, to, size, priority, limit), SYS_mq_timedreceive)
BIDE_NOTED_DOOR(int, mq_close, (mqd_t queue), (queue), SYS_close)

// eventfd(3): 0 or -1, whatever the kernel counts.
extern "C" BIDE_API int eventfd_read(int fd, eventfd_t* value) {
  return read(fd, value, sizeof *value) == sizeof *value ? 0 : -1;
}
extern "C" BIDE_API int eventfd_write(int fd, eventfd_t value) {
  return write(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}
