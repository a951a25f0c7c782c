// Names of hosts: they wait inside libc, so the whole function goes to an offload thread. The answers are libc's own, with
// /etc/hosts, nsswitch and all.
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "lib/door/lookup.hpp"

namespace {
using namespace bide;

struct addresses : door::lone_job {
  addresses(const char* n, const char* s, const addrinfo* h) noexcept : node(n), service(s), hinted(h), hints(h ? *h : addrinfo{}) {}
  ~addresses() {
    if (found) freeaddrinfo(found);
  }
  door::text node, service;
  const bool hinted;
  addrinfo hints;
  addrinfo* found = nullptr;
  int answer = EAI_AGAIN;
  int (*libc)(const char*, const char*, const addrinfo*, addrinfo**) = nullptr;
  void work() noexcept { answer = libc(node.get(), service.get(), hinted ? &hints : nullptr, &found); }
};

using namer = int(const sockaddr*, socklen_t, char*, socklen_t, char*, socklen_t, int);

struct names : door::lone_job {
  names(const void* a, socklen_t length, socklen_t hosts, socklen_t services, int f) noexcept
      : address(a, std::min<socklen_t>(length, sizeof(sockaddr_storage))), size(length), host_room(hosts), service_room(services), flags(f),
        host(new (std::nothrow) char[hosts + 1]()), service(new (std::nothrow) char[services + 1]()) {}
  bool lost() const noexcept { return address.lost() || !host || !service; }
  door::bytes address;
  socklen_t size, host_room, service_room;
  int flags, answer = EAI_AGAIN;
  std::unique_ptr<char[]> host, service;
  namer* libc = nullptr;
  void work() noexcept {
    answer = libc(static_cast<const sockaddr*>(address.get()), size, host_room ? host.get() : nullptr, host_room,
                  service_room ? service.get() : nullptr, service_room, flags);
  }
};

BIDE_NAME(getaddrinfo);
BIDE_NAME(getnameinfo);

// What getaddrinfo and getnameinfo say when errno says more; or there was no thread to ask.
int without_answer(long end) {
  bide_ended(end);
  return end == -EAGAIN ? EAI_AGAIN : EAI_SYSTEM;
}

}  // namespace

extern "C" BIDE_API int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** out) {
  const auto libc = door::real<int(const char*, const char*, const addrinfo*, addrinfo**)>(getaddrinfo_name);
  if (!libc) return EAI_AGAIN;
  if (!door::on_fiber()) return libc(node, service, hints, out);
  std::unique_ptr<addresses> job(new (std::nothrow) addresses(node, service, hints));
  if (!job || job->node.lost() || job->service.lost()) return EAI_MEMORY;
  job->libc = libc;
  if (const long end = door::apart(job, "getaddrinfo")) return without_answer(end);
  if (job->answer == 0) *out = std::exchange(job->found, nullptr);
  return job->answer;
}

extern "C" BIDE_API int getnameinfo(const sockaddr* address, socklen_t length, char* host, socklen_t host_room, char* service,
                                    socklen_t service_room, int flags) {
  const auto libc = door::real<namer>(getnameinfo_name);
  if (!libc) return EAI_AGAIN;
  if (!door::on_fiber()) return libc(address, length, host, host_room, service, service_room, flags);
  if (!host) host_room = 0;
  if (!service) service_room = 0;
  std::unique_ptr<names> job(new (std::nothrow) names(address, length, host_room, service_room, flags));
  if (!job || job->lost()) return EAI_MEMORY;
  job->libc = libc;
  if (const long end = door::apart(job, "getnameinfo")) return without_answer(end);
  if (job->answer == 0 && host_room) strcpy(host, job->host.get());
  if (job->answer == 0 && service_room) strcpy(service, job->service.get());
  return job->answer;
}

// A host's record in the memory of libc's own, and in the caller's.
#define BIDE_UNWRAP(...) __VA_ARGS__
#define BIDE_HOST(n, parameters, arguments, ...)                                                                         \
  namespace {                                                                                                            \
  BIDE_NAME(n##_r);                                                                                                      \
  }                                                                                                                      \
  BIDE_RECORD(hostent, n, parameters, arguments, door::asking_host(n##_r_name, __VA_ARGS__))                             \
  extern "C" BIDE_API int n##_r(BIDE_UNWRAP parameters, hostent* to, char* memory, size_t size, hostent** out, int* error) { \
    const auto libc = door::real<int(BIDE_UNWRAP parameters, hostent*, char*, size_t, hostent**, int*)>(n##_r_name);     \
    if (!libc) return EAGAIN;                                                                                            \
    if (!door::on_fiber()) return libc(BIDE_UNWRAP arguments, to, memory, size, out, error);                             \
    return door::found_in(#n "_r", to, memory, size, out, error, door::asking_host(n##_r_name, __VA_ARGS__));            \
  }
BIDE_HOST(gethostbyname, (const char* host), (host), door::own(host))
BIDE_HOST(gethostbyname2, (const char* host, int family), (host, family), door::own(host), door::own(family))
BIDE_HOST(gethostbyaddr, (const void* address, socklen_t length, int family), (address, length, family),
          door::own(door::bytes(address, std::min<socklen_t>(length, sizeof(in6_addr)))), door::own(length), door::own(family))
