// What a debugger sees of fibers: the stack of the running one and of a parked one, to their first frame and no further.
#include <doctest/doctest.h>

#include <bide/bide.hpp>

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "lib/fiber/park.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

// Where the parked fiber's context is kept, for the debugger.
extern "C" {
void* const* unit_parked_context = nullptr;
}

namespace {

using unit::scene;

[[gnu::noinline]] void waits_here() {
  unit_parked_context = &bide::core::this_fiber()->ctx;
  bide::sleep_for(std::chrono::hours(1));
  asm volatile("");  // no tail call
}

[[gnu::noinline]] void stops_here() {
  raise(SIGTRAP);
  asm volatile("");
}

const scene to_be_looked_at{"two fibers for a debugger", [] {
  bide::run([] {
    auto parked = bide::spawn([] { waits_here(); });
    auto running = bide::spawn([] { stops_here(); });
    running.join();
  });
}};

// What gdb says, from the signal on: two backtraces with a mark before each.
std::string by_gdb() {
  char program[PATH_MAX] = {};
  if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return {};
  // A parked context is boost's: 56 bytes of registers, then where it goes on.
  const std::string command = std::string("gdb -q -nx -batch") +
      " -ex 'set debuginfod enabled off' -ex 'set breakpoint pending on'"
      " -ex run -ex 'echo RUNNING\\n' -ex bt"
      " -ex 'set $kept = *(unsigned long **)*(unsigned long *)&unit_parked_context'"
      " -ex 'set $r12 = $kept[1]' -ex 'set $r13 = $kept[2]' -ex 'set $r14 = $kept[3]' -ex 'set $r15 = $kept[4]'"
      " -ex 'set $rbx = $kept[5]' -ex 'set $rbp = $kept[6]' -ex 'set $rip = $kept[7]'"
      " -ex 'set $rsp = (unsigned long)($kept + 8)'"
      " -ex 'echo PARKED\\n' -ex bt -ex kill"
      " --args '" + program + "' --scene 'two fibers for a debugger' 2>&1 </dev/null";
  FILE* gdb = popen(command.c_str(), "r");
  std::string said;
  char some[4096];
  while (const std::size_t n = fread(some, 1, sizeof some, gdb)) said.append(some, n);
  pclose(gdb);
  return said;
}

std::string last_frame(const std::string& backtrace) {
  const auto at = backtrace.rfind("\n#");
  return at == backtrace.npos ? "" : backtrace.substr(at, backtrace.find('\n', at + 1) - at);
}

}  // namespace

TEST_SUITE("diag/backtrace") {
  TEST_CASE("a debugger's backtrace of a running and of a parked fiber ends at the fiber's entry") {
    SKIP_IF(unit::sanitized, "a sanitizer's program takes a debugger too long");
    SKIP_IF(system("gdb --version >/dev/null 2>&1") != 0, "there is no gdb");
    const std::string said = by_gdb();
    INFO(said);
    SKIP_IF(said.find("ptrace: Operation not permitted") != said.npos, "nobody may be traced here");
    const auto running = said.find("RUNNING\n"), parked = said.find("PARKED\n");
    REQUIRE(running != said.npos);
    REQUIRE(parked != said.npos);
    const std::string first = said.substr(running, parked - running), second = said.substr(parked);
    CHECK(first.find("stops_here") != first.npos);
    CHECK(first.find("waits_here") == first.npos);
    CHECK(second.find("waits_here") != second.npos);
    CHECK(second.find("stops_here") == second.npos);
    for (const std::string* backtrace : {&first, &second}) {
      CHECK(backtrace->find("bide_fiber_main") != backtrace->npos);
      CHECK(last_frame(*backtrace).find("bide_fiber_entry") != std::string::npos);
      CHECK(backtrace->find("Backtrace stopped") == backtrace->npos);
      CHECK(backtrace->find("corrupt") == backtrace->npos);
    }
  }
}
