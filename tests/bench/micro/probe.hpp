/// What every probe needs: the CPU clock, this process's memory, and a line of output for each figure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

namespace bench {

/// Returns the CPU time of the whole process, so that neighbours on the machine are not counted.
inline double cpu_ns() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

/// Writes one figure. The harness reads "<subject>:<figure> <value>" lines.
inline void report(const char* subject, const char* figure, double value) {
  std::printf("%s:%s %.6f\n", subject, figure, value);
  std::fflush(stdout);
}

/// Stops the compiler from moving memory accesses across this point.
inline void barrier() { asm volatile("" ::: "memory"); }

/// Makes this a process that has had a second thread: libraries leave their atomics out before.
inline void have_second_thread() {
  std::thread([] {}).join();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// What the kernel says this process uses. proc_pid_status(5): VmRSS and VmPTE are in KiB.
struct memory {
  double resident = 0;     ///< bytes
  double page_tables = 0;  ///< bytes
  long maps = 0;           ///< lines of /proc/self/maps

  static memory now() {
    memory m;
    char line[512];
    if (FILE* status = std::fopen("/proc/self/status", "r")) {
      while (std::fgets(line, sizeof line, status)) {
        if (!std::strncmp(line, "VmRSS:", 6)) m.resident = std::atof(line + 6) * 1024;
        if (!std::strncmp(line, "VmPTE:", 6)) m.page_tables = std::atof(line + 6) * 1024;
      }
      std::fclose(status);
    }
    if (FILE* maps = std::fopen("/proc/self/maps", "r")) {
      for (int c; (c = getc_unlocked(maps)) != EOF;) m.maps += c == '\n';
      std::fclose(maps);
    }
    return m;
  }
};

/// A probe that one program offers by name on its command line.
struct probe {
  const char* name;
  void (*run)();
};

/// Runs the probes named on the command line. Returns the exit status.
template <std::size_t N>
int run_named(int count, char** names, const probe (&probes)[N]) {
  for (int i = 1; i < count; ++i) {
    const auto found =
        std::find_if(probes, probes + N, [&](const probe& p) { return !std::strcmp(p.name, names[i]); });
    if (found == probes + N) {
      std::fprintf(stderr, "%s: no probe named %s; there are:", names[0], names[i]);
      for (const probe& p : probes) std::fprintf(stderr, " %s", p.name);
      std::fputc('\n', stderr);
      return 2;
    }
    found->run();
  }
  return 0;
}

}  // namespace bench
