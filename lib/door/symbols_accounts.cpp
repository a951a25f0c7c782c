// Look-ups of users, groups, services and networks.
#include <unistd.h>

#include <algorithm>

#include "lib/door/lookup.hpp"

namespace {
using namespace bide;

struct all_groups : door::lone_job {
  all_groups(const char* u, gid_t f, int c) noexcept : user(u), first(f), count(c), found(new (std::nothrow) gid_t[room(c)]) {}
  static std::size_t room(int count) noexcept { return count > 0 ? static_cast<std::size_t>(count) : 1; }
  door::text user;
  gid_t first;
  int count, answer = -1;
  std::unique_ptr<gid_t[]> found;
  int (*libc)(const char*, gid_t, gid_t*, int*) = nullptr;
  void work() noexcept { answer = libc(user.get(), first, found.get(), &count); }
};

struct in_netgroup : door::lone_job {
  in_netgroup(const char* g, const char* h, const char* u, const char* d) noexcept : group(g), host(h), user(u), domain(d) {}
  bool lost() const noexcept { return group.lost() || host.lost() || user.lost() || domain.lost(); }
  door::text group, host, user, domain;
  int answer = 0;
  int (*libc)(const char*, const char*, const char*, const char*) = nullptr;
  void work() noexcept { answer = libc(group.get(), host.get(), user.get(), domain.get()); }
};

}  // namespace

// A record in the caller's memory.
#define BIDE_RECORD_R(type, n, parameters, arguments, ...)                    \
  namespace {                                                                 \
  BIDE_NAME(n);                                                               \
  }                                                                           \
  extern "C" BIDE_API int n parameters {                                      \
    const auto libc = door::real<int parameters>(n##_name);                   \
    if (!libc) return EAGAIN;                                                 \
    if (!door::on_fiber()) return libc arguments;                             \
    return door::found_in(#n, to, memory, size, out, nullptr, __VA_ARGS__);   \
  }

#define BIDE_BY_ONE(type, n, key)                                                                                      \
  BIDE_RECORD_R(type, n##_r, (key a, type * to, char* memory, size_t size, type** out), (a, to, memory, size, out),    \
                door::asking<type>(n##_r_name, door::own(a)))                                                          \
  BIDE_RECORD(type, n, (key a), (a), door::asking<type>(n##_r_name, door::own(a)))
#define BIDE_BY_TWO(type, n, key, key2)                                                                                \
  BIDE_RECORD_R(type, n##_r, (key a, key2 b, type * to, char* memory, size_t size, type** out),                        \
                (a, b, to, memory, size, out), door::asking<type>(n##_r_name, door::own(a), door::own(b)))             \
  BIDE_RECORD(type, n, (key a, key2 b), (a, b), door::asking<type>(n##_r_name, door::own(a), door::own(b)))
// The next of all.
#define BIDE_NEXT(type, n)                                                                                             \
  BIDE_RECORD_R(type, n##_r, (type * to, char* memory, size_t size, type** out), (to, memory, size, out),              \
                door::asking<type>(n##_r_name))                                                                        \
  BIDE_RECORD(type, n, (), (), door::asking<type>(n##_r_name))
// By a function that has no door and tells h_errno as well.
#define BIDE_OF_NET(type, n, parameters, arguments, ...)                      \
  namespace {                                                                 \
  BIDE_NAME(n##_r);                                                           \
  }                                                                           \
  BIDE_RECORD(type, n, parameters, arguments, door::asking_host(n##_r_name __VA_OPT__(, ) __VA_ARGS__))

BIDE_BY_ONE(passwd, getpwnam, const char*)
BIDE_BY_ONE(passwd, getpwuid, uid_t)
BIDE_NEXT(passwd, getpwent)
BIDE_BY_ONE(group, getgrnam, const char*)
BIDE_BY_ONE(group, getgrgid, gid_t)
BIDE_NEXT(group, getgrent)
BIDE_BY_ONE(spwd, getspnam, const char*)
BIDE_NEXT(spwd, getspent)
BIDE_BY_TWO(servent, getservbyname, const char*, const char*)
BIDE_BY_TWO(servent, getservbyport, int, const char*)
BIDE_NEXT(servent, getservent)
BIDE_BY_ONE(protoent, getprotobyname, const char*)
BIDE_BY_ONE(protoent, getprotobynumber, int)
BIDE_NEXT(protoent, getprotoent)
BIDE_OF_NET(netent, getnetbyname, (const char* name), (name), door::own(name))
BIDE_OF_NET(netent, getnetbyaddr, (uint32_t net, int family), (net, family), door::own(net), door::own(family))
BIDE_OF_NET(netent, getnetent, (), ())
BIDE_OF_NET(hostent, gethostent, (), ())

namespace {
BIDE_NAME(getaliasbyname_r);
}
BIDE_RECORD(aliasent, getaliasbyname, (const char* name), (name), door::asking<aliasent>(getaliasbyname_r_name, door::own(name)))

namespace {
BIDE_NAME(getgrouplist);
BIDE_NAME(innetgr);
}  // namespace

extern "C" BIDE_API int getgrouplist(const char* user, gid_t first, gid_t* to, int* count) {
  const auto libc = door::real<int(const char*, gid_t, gid_t*, int*)>(getgrouplist_name);
  if (!libc) return -1;
  if (!door::on_fiber()) return libc(user, first, to, count);
  std::unique_ptr<all_groups> job(new (std::nothrow) all_groups(user, first, *count));
  if (!job || !job->found || job->user.lost()) return static_cast<int>(door::with_errno(-ENOMEM));
  job->libc = libc;
  const int room = *count;
  if (const long end = door::apart(job, "getgrouplist")) {
    bide_ended(end);
    return -1;
  }
  *count = job->count;
  for (int i = 0; i < std::min(room, job->count); ++i) to[i] = job->found[static_cast<std::size_t>(i)];
  return job->answer;
}

extern "C" BIDE_API int innetgr(const char* group, const char* host, const char* user, const char* domain) {
  const auto libc = door::real<int(const char*, const char*, const char*, const char*)>(innetgr_name);
  if (!libc) return 0;
  if (!door::on_fiber()) return libc(group, host, user, domain);
  std::unique_ptr<in_netgroup> job(new (std::nothrow) in_netgroup(group, host, user, domain));
  if (!job || job->lost()) return static_cast<void>(errno = ENOMEM), 0;
  job->libc = libc;
  if (const long end = door::apart(job, "innetgr")) {
    bide_ended(end);
    return 0;
  }
  return job->answer;
}
