#include "meter.hpp"

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

#include <sys/resource.h>

namespace {

// proc_pid_status(5): "Name:\t  number unit".
std::size_t of_status(std::string_view name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name) && line[name.size()] == ':') return std::stoul(line.substr(name.size() + 1));
  return 0;
}

double cpu_of_process() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

}  // namespace

meter::meter() : start_(std::chrono::steady_clock::now()), cpu_at_start_(cpu_of_process()) {
  sampler_ = std::jthread([this](std::stop_token over) {
    while (!over.stop_requested()) {
      now_ = of_status("Threads") - 1;
      samples_.push_back(now_);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
}

void meter::stop() {
  sampler_.request_stop();
  sampler_.join();
}

double meter::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

double meter::cpu_seconds() const { return cpu_of_process() - cpu_at_start_; }

// Not ru_maxrss, which a process inherits from the one that started it: getrusage(2) keeps it across execve.
std::size_t meter::peak_memory_kib() const { return of_status("VmHWM"); }

std::size_t meter::threads_peak() const {
  return samples_.empty() ? 0 : *std::max_element(samples_.begin(), samples_.end());
}

std::size_t meter::threads_median() const {
  if (samples_.empty()) return 0;
  auto sorted = samples_;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}
