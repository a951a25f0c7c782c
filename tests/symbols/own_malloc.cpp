// A program with a malloc of its own, which takes a lock: before main, and while doors look for libc's functions.
#include <bide/bide.hpp>
#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
alignas(64) char room[64 << 20];
std::size_t used;   // guarded by lock
long asked, held;   // guarded by lock

void* take(std::size_t alignment, std::size_t size) noexcept {
  pthread_mutex_lock(&lock);
  ++asked;
  if (++held != 1) _exit(3);  // somebody else is in here
  const std::size_t begin = (used + sizeof(std::size_t) + alignment - 1) / alignment * alignment;
  void* taken = nullptr;
  if (begin + size <= sizeof room) {
    std::memcpy(room + begin - sizeof size, &size, sizeof size);
    used = begin + size;
    taken = room + begin;
  }
  --held;
  pthread_mutex_unlock(&lock);
  return taken;
}

}  // namespace

extern "C" {
void* malloc(std::size_t size) noexcept { return take(16, size); }
void free(void*) noexcept {}
void* calloc(std::size_t count, std::size_t size) noexcept { return take(16, count * size); }  // never used before
void* realloc(void* from, std::size_t size) noexcept {
  void* const to = take(16, size);
  std::size_t before = 0;
  if (from) std::memcpy(&before, static_cast<char*>(from) - sizeof before, sizeof before);
  if (from && to) std::memcpy(to, from, before < size ? before : size);
  return to;
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return take(alignment, size); }
void* memalign(std::size_t alignment, std::size_t size) noexcept { return take(alignment, size); }
int posix_memalign(void** to, std::size_t alignment, std::size_t size) noexcept { return (*to = take(alignment, size)) ? 0 : 12; }
}

static const std::string early(1000, 'x');

int main() {
  std::size_t length = early.size();
  bide::run([&] {
    std::vector<bide::task<std::size_t>> all;
    for (int i = 0; i < 50; ++i) {
      all.push_back(bide::spawn([] {
        const std::string before(300, 'y');
        usleep(1000);
        return before.size() + std::to_string(before.size()).size();
      }));
    }
    std::thread beside([] { for (int i = 0; i < 1000; ++i) std::string(100, 'z'); });
    for (auto& one : all) length += one.get();
    beside.join();
  }, {.workers = 2});
  std::printf("%zu by its own malloc: %s\n", length, asked > 1000 ? "yes" : "no");
}
