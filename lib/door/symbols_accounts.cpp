// Look-ups of users, groups, services and networks: nsswitch(5) may ask a server for any of them.
#include <aliases.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <shadow.h>
#include <unistd.h>

#include "lib/door/elsewhere.hpp"

// A record by a key, in static memory; and in the caller's.
#define BIDE_RECORD(type, n, parameters, arguments) BIDE_ELSEWHERE(type*, n, parameters, arguments, nullptr)
#define BIDE_UNWRAP(...) __VA_ARGS__
#define BIDE_RECORD_R(type, n, parameters, arguments)                                                        \
  BIDE_ELSEWHERE(int, n, (BIDE_UNWRAP parameters, type * to, char* memory, size_t size, type** out),          \
                 (BIDE_UNWRAP arguments, to, memory, size, out), EAGAIN)
#define BIDE_NEXT_R(type, n)                                                                                 \
  BIDE_ELSEWHERE(int, n, (type * to, char* memory, size_t size, type** out), (to, memory, size, out), EAGAIN)

BIDE_RECORD(passwd, getpwnam, (const char* name), (name))
BIDE_RECORD(passwd, getpwuid, (uid_t id), (id))
BIDE_RECORD(passwd, getpwent, (), ())
BIDE_RECORD_R(passwd, getpwnam_r, (const char* name), (name))
BIDE_RECORD_R(passwd, getpwuid_r, (uid_t id), (id))
BIDE_NEXT_R(passwd, getpwent_r)

BIDE_RECORD(group, getgrnam, (const char* name), (name))
BIDE_RECORD(group, getgrgid, (gid_t id), (id))
BIDE_RECORD(group, getgrent, (), ())
BIDE_RECORD_R(group, getgrnam_r, (const char* name), (name))
BIDE_RECORD_R(group, getgrgid_r, (gid_t id), (id))
BIDE_NEXT_R(group, getgrent_r)
BIDE_ELSEWHERE(int, getgrouplist, (const char* user, gid_t first, gid_t* to, int* count), (user, first, to, count), -1)

BIDE_RECORD(spwd, getspnam, (const char* name), (name))
BIDE_RECORD(spwd, getspent, (), ())
BIDE_RECORD_R(spwd, getspnam_r, (const char* name), (name))
BIDE_NEXT_R(spwd, getspent_r)

BIDE_RECORD(servent, getservbyname, (const char* name, const char* protocol), (name, protocol))
BIDE_RECORD(servent, getservbyport, (int port, const char* protocol), (port, protocol))
BIDE_RECORD(servent, getservent, (), ())
BIDE_RECORD_R(servent, getservbyname_r, (const char* name, const char* protocol), (name, protocol))
BIDE_RECORD_R(servent, getservbyport_r, (int port, const char* protocol), (port, protocol))
BIDE_NEXT_R(servent, getservent_r)

BIDE_RECORD(protoent, getprotobyname, (const char* name), (name))
BIDE_RECORD(protoent, getprotobynumber, (int number), (number))
BIDE_RECORD(protoent, getprotoent, (), ())
BIDE_RECORD_R(protoent, getprotobyname_r, (const char* name), (name))
BIDE_RECORD_R(protoent, getprotobynumber_r, (int number), (number))
BIDE_NEXT_R(protoent, getprotoent_r)

BIDE_RECORD(netent, getnetbyname, (const char* name), (name))
BIDE_RECORD(netent, getnetbyaddr, (uint32_t net, int family), (net, family))
BIDE_RECORD(netent, getnetent, (), ())
BIDE_RECORD(hostent, gethostent, (), ())
BIDE_RECORD(aliasent, getaliasbyname, (const char* name), (name))
BIDE_ELSEWHERE(int, innetgr, (const char* group, const char* host, const char* user, const char* domain),
               (group, host, user, domain), 0)
