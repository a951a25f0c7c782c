// Row 19: kernel calls past libc's names in a fiber of a linked program, with options::trap and without.
#include "probe.hpp"

#include <bide/bide.hpp>

#include <sys/syscall.h>
#include <unistd.h>

namespace {

using namespace bench;

// A syscall instruction that is none of libc's.
long bare_call(long nr) {
  long answer;
  asm volatile("syscall" : "=a"(answer) : "a"(nr) : "rcx", "r11", "memory");
  return answer;
}

// The least of many short times: what it costs when nothing comes between.
template <class F>
void measure(const char* subject, const char* figure, F f) {
  double least = 1e12;
  for (int round = 0; round < 20; ++round) {
    const double before = cpu_ns();
    for (int i = 0; i < 2000; ++i) f();
    least = std::min(least, (cpu_ns() - before) / 2000);
  }
  report(subject, figure, least);
}

void calls(const char* subject, bide::trap_door trap) {
  bide::run([&] {
    measure(subject, "call-bare", [] { bare_call(SYS_getppid); });
    measure(subject, "call-libc", [] { getppid(); });
    measure(subject, "call-table", [] { bare_call(SYS_sched_yield); });  // has an entry, and nobody else to run
  }, {.trap = trap});
}

}  // namespace

int main(int count, char** names) {
  return run_named(count, names, {{"linked", [] { calls("linked", bide::trap_door::off); }},
                                  {"trapping", [] { calls("trapping", bide::trap_door::on); }}});
}
