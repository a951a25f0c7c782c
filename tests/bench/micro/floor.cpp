// What rows 1 to 6 and 14 stand on, without a runtime: bare jumps, bare pages, libev's timers; and what they replace:
// POSIX threads.

#include "locking.hpp"
#include "parked.hpp"
#include "timeout.hpp"

#include <ev.h>
#include <pthread.h>
#include <sys/mman.h>
#include <boost/context/detail/fcontext.hpp>

namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

#ifndef MADV_GUARD_INSTALL
constexpr int MADV_GUARD_INSTALL = 102;  // Linux 6.13; Debian 12's headers are older
#endif

char* reserve(std::size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) std::abort();
  return static_cast<char*>(at);
}

// Tops of equal stacks fall on the same cache set; fibers of a good runtime do not.
constexpr std::size_t stack_size = 64 * 1024;
char* stack_top(char* slab, std::size_t i) { return slab + stack_size * (i + 1) - 64 * (i % 16); }

[[noreturn]] void bounce(transfer_t from) {
  for (;;) from = jump_fcontext(from.fctx, nullptr);
}

// F, the unit of rows 1 to 3: one jump_fcontext.
void jump() {
  char* slab = reserve(stack_size);
  fcontext_t other = make_fcontext(stack_top(slab, 0), stack_size / 2, bounce);
  constexpr long pairs = 10'000'000;
  const auto go = [&](long times) {
    for (long i = 0; i < times; ++i) other = jump_fcontext(other, nullptr).fctx;
  };
  go(pairs / 10);
  const double start = bench::cpu_ns();
  go(pairs);
  bench::report("floor", "jump", (bench::cpu_ns() - start) / (2 * pairs));
}

// A ring of bare contexts, each of which jumps to the next one, the stack after that prefetched: the least of row 2.
constexpr std::size_t ring_size = 1'000;
fcontext_t ring[ring_size];
fcontext_t home;
std::size_t at = 0;
long jumps_left = 0;

[[noreturn]] void ring_body(transfer_t from) {
  for (;;) {
    *static_cast<fcontext_t*>(from.data) = from.fctx;
    fcontext_t* mine = &ring[at];
    if (--jumps_left > 0) {
      at = at + 1 == ring_size ? 0 : at + 1;
      __builtin_prefetch(ring[at + 1 == ring_size ? 0 : at + 1]);
      from = jump_fcontext(ring[at], mine);
    } else {
      from = jump_fcontext(home, mine);
    }
  }
}

void jump_ring() {
  char* slab = reserve(stack_size * ring_size);
  for (std::size_t i = 0; i < ring_size; ++i) ring[i] = make_fcontext(stack_top(slab, i), stack_size / 2, ring_body);
  const auto go = [](long jumps) {
    jumps_left = jumps;
    const transfer_t back = jump_fcontext(ring[at], &home);
    *static_cast<fcontext_t*>(back.data) = back.fctx;
  };
  constexpr long jumps = 10'000'000;
  go(3 * ring_size);
  const double start = bench::cpu_ns();
  go(jumps);
  bench::report("floor", "jump-1000", (bench::cpu_ns() - start) / jumps);
}

void* count_up(void* counter) {
  ++*static_cast<long*>(counter);
  return nullptr;
}

void thread_spawn_join() {
  long ran = 0;
  const auto go = [&ran](long times) {
    for (long i = 0; i < times; ++i) {
      pthread_t thread;
      if (pthread_create(&thread, nullptr, count_up, &ran) != 0) std::abort();
      pthread_join(thread, nullptr);
    }
  };
  constexpr long times = 10'000;
  go(times / 10);
  const double start = bench::cpu_ns();
  go(times);
  bench::report("pthread", "spawn-join", (bench::cpu_ns() - start) / times);
}

struct thread_mutex {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  void lock() { pthread_mutex_lock(&mutex); }
  void unlock() { pthread_mutex_unlock(&mutex); }
};

void lock() {
  bench::measure_lock<thread_mutex>("pthread", "lock-alone");
  bench::have_second_thread();
  bench::measure_lock<thread_mutex>("pthread", "lock");
}

// A guard and one touched page for each of 100,000 stacks: the least that a parked, guarded fiber can take.
void parked() {
  constexpr std::size_t count = 100'000;
  const bench::memory before = bench::memory::now();
  char* slab = reserve(stack_size * count);
  for (std::size_t i = 0; i < count; ++i) {
    if (madvise(slab + stack_size * i, bench::page, MADV_GUARD_INSTALL) != 0) break;  // an older kernel: no guards
    slab[stack_size * (i + 1) - 1] = 1;
  }
  const bench::memory after = bench::memory::now();
  bench::report("floor", "parked-resident", (after.resident - before.resident) / count);
  bench::report("floor", "parked-page-tables", (after.page_tables - before.page_tables) / count);
}

// libev's own timers: start and stop of one among as many live ones.
void timeout() {
  struct ev_loop* loop = ev_default_loop(EVFLAG_AUTO);
  static ev_timer live[bench::live_timers];
  static bench::far_deadlines deadlines;
  const double origin = static_cast<double>(deadlines.earliest());
  const auto seconds = [&](std::int64_t ns) { return (static_cast<double>(ns) - origin) / 1e9 + 1'000; };
  const auto ignore = [](struct ev_loop*, ev_timer*, int) {};
  for (ev_timer& timer : live) {
    ev_timer_init(&timer, ignore, seconds(deadlines.among()), 0.);
    ev_timer_start(loop, &timer);
  }
  std::vector<double> after(bench::chunk_waits), used;
  for (double& s : after) s = seconds(deadlines.among());
  ev_timer one;
  ev_timer_init(&one, ignore, 0., 0.);
  for (int i = 0; i < bench::chunks; ++i) {
    const double start = bench::cpu_ns();
    for (const double s : after) {
      ev_timer_set(&one, s, 0.);
      ev_timer_start(loop, &one);
      ev_timer_stop(loop, &one);
    }
    used.push_back((bench::cpu_ns() - start) / bench::chunk_waits);
  }
  bench::report("libev", "timeout", bench::median(used));
}

constexpr bench::probe probes[] = {
    {"jump", jump}, {"jump-1000", jump_ring}, {"spawn-join", thread_spawn_join},
    {"lock", lock}, {"parked", parked},       {"timeout", timeout},
};

}  // namespace

int main(int count, char** names) { return bench::run_named(count, names, probes); }
