// Row 10: a program linked with the symbol door calls libc names on a thread that is none of bide's.

#include "doors.hpp"

#include <bide/bide.hpp>

#include <dlfcn.h>
#include <fcntl.h>
#include <atomic>
#include <thread>

namespace {

char buffer[64];

// What a program has without bide: libc's own functions, past the doors.
template <class Function>
Function* libc(const char* name) {
  void* library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(library ? dlsym(library, name) : nullptr);
}
ssize_t (*const libc_read)(int, void*, size_t) = libc<ssize_t(int, void*, size_t)>("read");
ssize_t (*const libc_write)(int, const void*, size_t) = libc<ssize_t(int, const void*, size_t)>("write");

const int null_device = open("/dev/null", O_RDWR | O_CLOEXEC);

const auto raw_read = [] { bench::expect(bench::raw_read(null_device, buffer, 1), 0); };
const auto raw_write = [] { bench::expect(bench::raw_write(null_device, buffer, 1), 1); };
const auto own_read = [] { bench::expect(libc_read(null_device, buffer, 1), 0); };
const auto own_write = [] { bench::expect(libc_write(null_device, buffer, 1), 1); };
const auto door_read = [] { bench::expect(read(null_device, buffer, 1), 0); };
const auto door_write = [] { bench::expect(write(null_device, buffer, 1), 1); };

// Such a call takes well below 100 ns, so there is time for many.
double on_top(auto& base, auto& measured) { return bench::on_top(base, measured, 8'000); }

void no_runtime() {
  on_top(raw_read, door_read);
  bench::report("bide", "outside-read", on_top(raw_read, door_read));
  bench::report("bide", "outside-write", on_top(raw_write, door_write));
  bench::report("libc", "outside-read", on_top(raw_read, own_read));
}

// The same while another thread is a worker with a parked fiber. Beside a second thread libc's own functions, which
// are points of thread cancellation, cost more than the kernel call: what the door adds is measured on top of them.
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
  on_top(own_read, door_read);
  bench::report("bide", "beside-read", on_top(own_read, door_read));
  bench::report("bide", "beside-write", on_top(own_write, door_write));
  bench::report("libc", "beside-read", on_top(raw_read, own_read));
  over = true;
  worker.join();
}

constexpr bench::probe probes[] = {{"plain", no_runtime}, {"beside", beside_runtime}};

}  // namespace

int main(int count, char** names) { return bench::run_named(count, names, probes); }
