// Waiting for children, in all its spellings.
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "lib/door/door.hpp"

#define BIDE_WAIT(n) BIDE_DOOR_WITH(pid_t, n, (int* status), (status), (SYS_wait4, -1, status, 0, nullptr))
BIDE_WAIT(wait)
BIDE_WAIT(__wait)

#define BIDE_WAITPID(n)                                                               \
  BIDE_DOOR_WITH(pid_t, n, (pid_t who, int* status, int options), (who, status, options), \
                 (SYS_wait4, who, status, options, nullptr))
BIDE_WAITPID(waitpid)
BIDE_WAITPID(__waitpid)

BIDE_DOOR_WITH(pid_t, wait3, (int* status, int options, rusage* usage), (status, options, usage),
               (SYS_wait4, -1, status, options, usage))
BIDE_DOOR(pid_t, wait4, (pid_t who, int* status, int options, rusage* usage), (who, status, options, usage), SYS_wait4)
BIDE_DOOR_WITH(int, waitid, (idtype_t which, id_t id, siginfo_t* info, int options), (which, id, info, options),
               (SYS_waitid, which, id, info, options, nullptr))
