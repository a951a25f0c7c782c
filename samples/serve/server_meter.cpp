#include "server_meter.hpp"

#include <fmt/format.h>

#include <fstream>
#include <string>
#include <system_error>

namespace {

constexpr long kernel_stack_kib = 16;  // x86-64's THREAD_SIZE; resident, but in no process's VmRSS

}  // namespace

server_meter::server_meter(pid_t pid) : pid_(pid) {
  if (const int error = clock_getcpuclockid(pid, &clock_))
    throw std::system_error(error, std::generic_category(), fmt::format("process {}", pid));
}

double server_meter::cpu_seconds() const {
  timespec used{};
  clock_gettime(clock_, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

server_meter::state server_meter::now() const {
  state found;
  std::ifstream status(fmt::format("/proc/{}/status", pid_));  // proc_pid_status(5)
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Threads:")) found.threads = std::stol(line.substr(8));
    if (line.starts_with("VmRSS:")) found.memory_kib = std::stol(line.substr(6));
  }
  found.memory_kib += found.threads * kernel_stack_kib;
  return found;
}
