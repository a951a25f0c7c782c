// Names of hosts: they wait inside libc, so the whole function goes to an offload thread. The answers are libc's own, with
// /etc/hosts, nsswitch and all.
#include <netdb.h>
#include <sys/socket.h>

#include "lib/door/elsewhere.hpp"

BIDE_ELSEWHERE(int, getaddrinfo, (const char* node, const char* service, const addrinfo* hints, addrinfo** out),
            (node, service, hints, out), EAI_AGAIN)
BIDE_ELSEWHERE(int, getnameinfo,
            (const sockaddr* address, socklen_t length, char* host, socklen_t host_room, char* service,
             socklen_t service_room, int flags),
            (address, length, host, host_room, service, service_room, flags), EAI_AGAIN)
BIDE_ELSEWHERE(hostent*, gethostbyname, (const char* host), (host), nullptr)
BIDE_ELSEWHERE(hostent*, gethostbyname2, (const char* host, int family), (host, family), nullptr)
BIDE_ELSEWHERE(hostent*, gethostbyaddr, (const void* address, socklen_t length, int family), (address, length, family),
            nullptr)
BIDE_ELSEWHERE(int, gethostbyname_r,
            (const char* host, hostent* to, char* memory, size_t size, hostent** out, int* resolver_error),
            (host, to, memory, size, out, resolver_error), EAGAIN)
BIDE_ELSEWHERE(int, gethostbyname2_r,
            (const char* host, int family, hostent* to, char* memory, size_t size, hostent** out, int* resolver_error),
            (host, family, to, memory, size, out, resolver_error), EAGAIN)
BIDE_ELSEWHERE(int, gethostbyaddr_r,
            (const void* address, socklen_t length, int family, hostent* to, char* memory, size_t size, hostent** out,
             int* resolver_error),
            (address, length, family, to, memory, size, out, resolver_error), EAGAIN)
