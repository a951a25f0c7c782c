#include "support/scene.hpp"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <stdexcept>
#include <vector>

#include "support/watchdog.hpp"

extern char** environ;

namespace unit {
namespace {

scene* scenes = nullptr;

}  // namespace

int ending::times(std::string_view words) const {
  int count = 0;
  for (auto at = text.find(words); at != text.npos; at = text.find(words, at + words.size())) ++count;
  return count;
}

scene::scene(const char* name, void (*body)()) noexcept : name_(name), body_(body), next_(scenes) { scenes = this; }

ending scene::play(std::initializer_list<const char*> environment) const {
  std::vector<const char*> variables(environment);
  for (char** v = environ; *v; ++v) variables.push_back(*v);  // getenv finds the first of a name
  variables.push_back(nullptr);
  const char* arguments[] = {"unit_test", "--scene", name_, nullptr};
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("pipe");
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    execve("/proc/self/exe", const_cast<char**>(arguments), const_cast<char**>(variables.data()));
    _exit(127);
  }
  close(ends[1]);
  ending e;
  char some[4096];
  for (ssize_t n; (n = read(ends[0], some, sizeof some)) > 0;) e.text.append(some, static_cast<std::size_t>(n));
  close(ends[0]);
  if (child < 0 || waitpid(child, &e.status, 0) != child) throw std::runtime_error("fork");
  return e;
}

int scene::perform(std::string_view name) {
  for (const scene* s = scenes; s; s = s->next_) {
    if (name != s->name_) continue;
    watch_time(60);
    s->body_();
    return 0;
  }
  fprintf(stderr, "no scene of that name\n");
  return 126;
}

void unexpected(const char* condition, const char* file, int line) {
  fprintf(stderr, "%s:%d: expected %s\n", file, line, condition);
  fflush(nullptr);
  _exit(99);
}

}  // namespace unit
