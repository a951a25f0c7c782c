// Where a call is made that waits for a file: options::files.
#include "support.hpp"

#include <bide/bide.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include <fstream>
#include <thread>

using namespace api;

namespace {

// A file under a lease: the kernel has who opens or cuts it wait until the lease is given back, fcntl(2).
class leased_file {
 public:
  leased_file() : before_(signal(SIGIO, SIG_IGN)) {  // which says that somebody waits
    holder_ = mkostemp(path_, O_CLOEXEC);
    REQUIRE(holder_ >= 0);
    leased_ = fcntl(holder_, F_SETLEASE, F_WRLCK) == 0;
  }
  ~leased_file() {
    close(holder_);
    unlink(path_);
    signal(SIGIO, before_);
  }
  leased_file(const leased_file&) = delete;

  bool leased() const { return leased_; }
  const char* path() const { return path_; }
  void give_back() const { fcntl(holder_, F_SETLEASE, F_UNLCK); }

 private:
  char path_[32] = "/tmp/bide-files-XXXXXX";
  void (*before_)(int);
  int holder_;
  bool leased_;
};

// The kernel thread that is in such a call: its folder in proc(5), or "".
std::filesystem::path thread_in(long nr) {
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    long in = -1;
    if (std::ifstream(thread.path() / "syscall") >> in && in == nr) return thread.path();
  }
  return {};
}

// What a plain thread saw of a runtime while a fiber of it was in a call that waited for a file.
struct sight {
  std::string thread;  // the name of the one that waited
  bool others_ran = false;
};

// In a fiber.
template <class Call>
sight while_it_waits(const leased_file& file, long nr, std::chrono::milliseconds patience, Call call) {
  const ticker others;
  sight seen;
  std::thread looks([&] {
    const auto end = std::chrono::steady_clock::now() + 10s;
    std::filesystem::path waits;
    while ((waits = thread_in(nr)).empty() && std::chrono::steady_clock::now() < end) usleep(1000);
    seen.others_ran = others.goes_on(patience);
    std::getline(std::ifstream(waits / "comm"), seen.thread);  // an offload thread has it from the worker, before that goes on
    file.give_back();
  });
  call();
  looks.join();
  return seen;
}

void check(bool offloaded) {
  CAPTURE(offloaded);
  const leased_file file, other;
  if (!file.leased()) {
    fprintf(stderr, "skip: files in /tmp can't be leased\n");
    return;
  }
  const auto patience = offloaded ? 10'000ms : 50ms;
  const sight opens = while_it_waits(file, SYS_openat, patience, [&] {
    const int fd = openat(AT_FDCWD, file.path(), O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    close(fd);
  });
  CHECK((opens.thread == "bide-offload") == offloaded);
  CHECK_FALSE(opens.thread.empty());
  CHECK(opens.others_ran == offloaded);
  const sight cuts = while_it_waits(other, SYS_truncate, patience, [&] { CHECK(truncate(other.path(), 10) == 0); });
  CHECK((cuts.thread == "bide-offload") == offloaded);
  CHECK_FALSE(cuts.thread.empty());
  CHECK(cuts.others_ran == offloaded);
}

}  // namespace

TEST_SUITE("api/files") {
  TEST_CASE("who waits for a file holds its worker, or an offload thread where the program says so") {
    bide::run([] { check(false); });
    bide::run([] { check(true); }, {.files = bide::file_calls::offloaded});
  }

  TEST_CASE("C says so too") {
    for (const int files : {0, 1}) {
      bide_options how{};
      how.files = files;
      CHECK(bide_run(&how, [](void* offloaded) { return check(offloaded != nullptr), 0; }, files ? &how : nullptr, nullptr) == 0);
    }
  }
}
