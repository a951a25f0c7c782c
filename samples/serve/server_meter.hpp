// What a server costs, as the kernel counts it for its process.
#pragma once

#include <sys/types.h>

#include <ctime>

class server_meter {
 public:
  /// Errors: std::system_error if there is no such process.
  explicit server_meter(pid_t);

  /// Of all its threads, those that have ended included.
  double cpu_seconds() const;
  /// Kernel threads, and resident memory with the kernel's own stack for each of them.
  struct state {
    long threads = 0, memory_kib = 0;
  };
  state now() const;

 private:
  pid_t pid_;
  clockid_t clock_;
};
