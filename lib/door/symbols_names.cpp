// Name look-ups: they wait inside libc, so the whole function goes to an offload thread. The answers are libc's own, with
// /etc/hosts, nsswitch and all.
#include <netdb.h>
#include <sys/socket.h>

#include "lib/call/border.hpp"
#include "lib/door/door.hpp"

namespace {

using namespace bide;

// Runs `work` on an offload thread; its errno and h_errno come back. Returns false when there is no thread.
template <class Work>
bool offloaded(Work work) noexcept {
  struct all {
    Work& work;
    int error, resolver_error;
  } a{work, errno, h_errno};
  const int failed = bide_offload([](void* p) {
    auto& s = *static_cast<all*>(p);
    s.work();
    s.error = errno;
    s.resolver_error = h_errno;
  }, &a, "a name look-up");
  if (failed) return false;
  errno = a.error;
  h_errno = a.resolver_error;
  return true;
}

}  // namespace

// A look-up by libc's function, on an offload thread when on a fiber. `without_thread`: what says "try again".
#define BIDE_LOOKUP(result, n, parameters, arguments, without_thread)                \
  namespace {                                                                        \
  BIDE_NAME(n);                                                                      \
  }                                                                                  \
  extern "C" BIDE_API result n parameters {                                          \
    const auto libc = door::real<result parameters>(n##_name);                       \
    if (!libc) return without_thread;                                                \
    if (!door::on_fiber()) return libc arguments;                                    \
    result answer = without_thread;                                                  \
    offloaded([&] { answer = libc arguments; });                                     \
    return answer;                                                                   \
  }

BIDE_LOOKUP(int, getaddrinfo, (const char* node, const char* service, const addrinfo* hints, addrinfo** out),
            (node, service, hints, out), EAI_AGAIN)
BIDE_LOOKUP(int, getnameinfo,
            (const sockaddr* address, socklen_t length, char* host, socklen_t host_room, char* service,
             socklen_t service_room, int flags),
            (address, length, host, host_room, service, service_room, flags), EAI_AGAIN)
BIDE_LOOKUP(hostent*, gethostbyname, (const char* host), (host), nullptr)
BIDE_LOOKUP(hostent*, gethostbyname2, (const char* host, int family), (host, family), nullptr)
BIDE_LOOKUP(hostent*, gethostbyaddr, (const void* address, socklen_t length, int family), (address, length, family),
            nullptr)
BIDE_LOOKUP(int, gethostbyname_r,
            (const char* host, hostent* to, char* memory, size_t size, hostent** out, int* resolver_error),
            (host, to, memory, size, out, resolver_error), EAGAIN)
BIDE_LOOKUP(int, gethostbyname2_r,
            (const char* host, int family, hostent* to, char* memory, size_t size, hostent** out, int* resolver_error),
            (host, family, to, memory, size, out, resolver_error), EAGAIN)
BIDE_LOOKUP(int, gethostbyaddr_r,
            (const void* address, socklen_t length, int family, hostent* to, char* memory, size_t size, hostent** out,
             int* resolver_error),
            (address, length, family, to, memory, size, out, resolver_error), EAGAIN)
