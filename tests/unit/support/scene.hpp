// A part of a test that plays in a process of its own: where a process must die, run out of something, or start with
// another environment.
#pragma once

#include <sys/wait.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace unit {

// How a scene's process ended, and what it wrote to stdout and stderr.
struct ending {
  int status = 0;
  std::string text;

  bool exited(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
  bool died_of(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
  bool says(std::string_view words) const { return text.find(words) != text.npos; }
  // How often it says it.
  int times(std::string_view words) const;
};

class scene {
 public:
  // One for each name, defined at namespace scope beside the test that plays it.
  scene(const char* name, void (*body)()) noexcept;

  // Runs the body in a new process of this program, with these additions to the environment ("NAME=value"), and waits
  // for its end. A body that returns ends it with 0.
  ending play(std::initializer_list<const char*> environment = {}) const;

  // In the new process.
  static int perform(std::string_view name);

 private:
  const char* name_;
  void (*body_)();
  scene* next_;
};

// In a scene's body: ends the process with a word about it if the condition does not hold.
#define EXPECT(condition) ((condition) ? void(0) : ::unit::unexpected(#condition, __FILE__, __LINE__))
[[noreturn]] void unexpected(const char* condition, const char* file, int line);

}  // namespace unit
