#include "support/refusal.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include <cstddef>

namespace unit {

bool refuse(long nr, int error, long argument) {
  const auto word = [](std::size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<__u32>(offset));
  };
  const auto unless = [](long value, int skip) {
    return sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<__u32>(value), 0, static_cast<__u8>(skip));
  };
  const auto answer = [](unsigned what) { return sock_filter BPF_STMT(BPF_RET | BPF_K, what); };
  sock_filter any[] = {word(offsetof(seccomp_data, nr)), unless(nr, 1),
                       answer(SECCOMP_RET_ERRNO | static_cast<unsigned>(error)), answer(SECCOMP_RET_ALLOW)};
  sock_filter some[] = {word(offsetof(seccomp_data, nr)), unless(nr, 3),
                        word(offsetof(seccomp_data, args[1])), unless(argument, 1),
                        answer(SECCOMP_RET_ERRNO | static_cast<unsigned>(error)), answer(SECCOMP_RET_ALLOW)};
  const sock_fprog program = argument < 0 ? sock_fprog{4, any} : sock_fprog{6, some};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace unit
