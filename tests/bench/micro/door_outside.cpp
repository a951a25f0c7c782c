// Row 10: a program linked with the symbol door calls libc names on a thread that is none of bide's.

#include "doors.hpp"

#include <bide/bide.hpp>

#include <dlfcn.h>
#include <fcntl.h>
#include <atomic>
#include <thread>

namespace {

char buffer[64];

int null_device() {
  static const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  bench::expect(fd >= 0, 1);
  return fd;
}

void measure(const char* read_figure, const char* write_figure) {
  const int fd = null_device();
  const auto raw_read = [fd] { bench::expect(bench::raw_read(fd, buffer, 1), 0); };
  const auto door_read = [fd] { bench::expect(read(fd, buffer, 1), 0); };
  const auto raw_write = [fd] { bench::expect(bench::raw_write(fd, buffer, 1), 1); };
  const auto door_write = [fd] { bench::expect(write(fd, buffer, 1), 1); };
  bench::on_top(raw_read, door_read);
  bench::report("bide", read_figure, bench::on_top(raw_read, door_read));
  bench::report("bide", write_figure, bench::on_top(raw_write, door_write));
}

void no_runtime() { measure("outside-read", "outside-write"); }

// The same while another thread is a worker with a parked fiber.
void beside_runtime() {
  std::atomic<bool> running{false};
  std::atomic<bool> over{false};
  std::thread worker([&] {
    bide::run([&] {
      running = true;
      while (!over) bide::sleep_for(std::chrono::milliseconds(20));
    });
  });
  while (!running) std::this_thread::yield();
  measure("beside-read", "beside-write");
  over = true;
  worker.join();
}

// What glibc's own read and write cost on top of the kernel call, for comparison.
void libc_itself() {
  void* libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  const auto libc_read = reinterpret_cast<ssize_t (*)(int, void*, std::size_t)>(dlsym(libc, "read"));
  const int fd = null_device();
  const auto raw = [fd] { bench::expect(bench::raw_read(fd, buffer, 1), 0); };
  const auto own = [fd, libc_read] { bench::expect(libc_read(fd, buffer, 1), 0); };
  bench::on_top(raw, own);
  bench::report("libc", "outside-read", bench::on_top(raw, own));
}

constexpr bench::probe probes[] = {{"plain", no_runtime}, {"beside", beside_runtime}, {"libc", libc_itself}};

}  // namespace

int main(int count, char** names) { return bench::run_named(count, names, probes); }
