#include "lib/launcher/run.hpp"

#include <errno.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "lib/launcher/failure.hpp"
#include "lib/launcher/preload.hpp"

namespace bide::launcher {
namespace {

void set(const char* name, const std::string& value) {
  if (!value.empty()) setenv(name, value.c_str(), 1);
}

// The file that was looked at, whatever PATH says by now; argv[0] stays the name that was given.
void execute(const program& p, char** command) {
  execv(p.path.c_str(), command);
  if (errno != ENOEXEC || p.scripts.empty()) return;
  // A script that says not for whom it is: execvp(3) and every shell give it to sh.
  std::vector<char*> by_shell{const_cast<char*>("/bin/sh"), const_cast<char*>(p.path.c_str())};
  for (char** argument = command + 1; *argument; ++argument) by_shell.push_back(*argument);
  by_shell.push_back(nullptr);
  execv(by_shell[0], by_shell.data());
}

}  // namespace

void run(const run_options& options, char** command) {
  set("BIDE_WORKERS", options.workers);
  set("BIDE_PREEMPT", options.preempt);
  set("BIDE_SEED", options.seed);
  set("BIDE_PATCH", options.patch);
  set("BIDE_DISABLE", options.disable);
  const program found = find_program(command[0]);
  const std::string ours = preload_library(), list = preload_list(ours, options.plugins);
  if (const std::string why = obstacle(found, ask_kernel()); why.empty())
    setenv("LD_PRELOAD", list.c_str(), 1);
  else
    fprintf(stderr, "bide: %s runs on native threads: %s\n", found.binary.c_str(), why.c_str());
  execute(found, command);
  throw failure(status::cannot_execute, found.path + ": " + strerror(errno));
}

}  // namespace bide::launcher
