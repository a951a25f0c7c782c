// Of a seeded runtime: who runs next, and what time it is.
//
// Its one worker takes the next ready fiber by dice, and each switch is by way of the loop, so that there is no other order.
// Time stands still but for a little that every turn takes, until nobody is ready: then it is the next timer's. What the
// kernel has to tell is asked before that, not when it happens to come.
#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>

#include "lib/base/clock.hpp"
#include "lib/io/offload.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sys/raw.hpp"

namespace bide::core {
namespace {

constexpr std::int64_t start_time = 3600 * base::second;  // as if the machine had been started an hour ago
constexpr std::int64_t turn_time = 1'000;                  // so that who yields until a time comes there
constexpr std::uint32_t choice = 256;                      // of so many at most one is taken: a longer queue is walked no further
constexpr std::uint32_t most_unpolled = 64;                // turns: so that who yields until a descriptor is read comes there

// What is on its way inside the kernel (a segment over loopback) or on an offload thread is waited for in its time; a call
// that has just been passed on there, before anybody else runs: it mostly ends at once (connect without io_uring), and so has its
// place in the order.
constexpr std::int64_t settling = 1'000'000, elsewhere = base::second, passed_on = 100'000'000;

// splitmix64: every state is good, and neighbouring seeds differ at once.
std::uint64_t mixed(std::uint64_t n) noexcept {
  n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9;
  n = (n ^ (n >> 27)) * 0x94d049bb133111eb;
  return n ^ (n >> 31);
}

void show(std::int64_t time) noexcept { bide_clock_hand.store(time, std::memory_order_relaxed); }

}  // namespace

void worker::roll_dice(std::uint64_t seed) noexcept {
  chance = seed;
  until_check = 1;  // a preloaded program's first fiber runs before the loop ever did
  turns_unpolled_ = 0;
  ran_since_rest_ = false;
  offloads_seen_ = io::offloads_begun();
  show(start_time);
}

// Sleeps in the kernel's time, as rest() does, until something is posted or becomes ready. Returns whether something was posted.
bool worker::doze(std::int64_t until) noexcept {
  asleep.store(true, std::memory_order_seq_cst);
  // Asked in any case: what has become ready comes before what is posted, whichever was quicker.
  if (in.empty() && !signalled.load(std::memory_order_seq_cst)) io.sleep(until);
  else io.poll();
  asleep.store(false, std::memory_order_seq_cst);
  const bool posted = !in.empty();
  in.deliver_all();
  return posted;
}

// Behind a turn, before anything is delivered. Descriptors are asked only when the call is over: those that were ready before
// and those that it made ready then come together, however long it took.
void worker::await_offload() noexcept {
  if (offloads_seen_ == io::offloads_begun()) return;
  offloads_seen_ = io::offloads_begun();
  const std::int64_t until = base::after(base::kernel_now(), passed_on);
  asleep.store(true, std::memory_order_seq_cst);
  while (in.empty() && !signalled.load(std::memory_order_seq_cst)) {
    pollfd rung{bell, POLLIN, 0};
    const timespec left = base::to_timespec(std::max<std::int64_t>(0, until - base::kernel_now()));
    if (sys::raw(SYS_ppoll, &rung, 1, &left, nullptr, 0) == 0) break;
  }
  asleep.store(false, std::memory_order_seq_cst);
  io.poll();
  in.deliver_all();
}

fiber& worker::take_by_chance() noexcept {
  show(base::shown_time() + turn_time);
  ran_since_rest_ = true;
  if (++turns_unpolled_ >= most_unpolled && io.anyone_waits()) {
    turns_unpolled_ = 0;
    io.poll();
  }
  do chance += 0x9e3779b97f4a7c15;
  while (!chance);
  const std::uint64_t among = ready.count_to(choice);
  return ready.take_behind(static_cast<std::uint32_t>(((mixed(chance) >> 32) * among) >> 32));
}

// Returns false if nothing is left but to wait for what comes from outside, in its time.
bool worker::rest_in_shown_time() noexcept {
  turns_unpolled_ = 0;
  if (io.anyone_waits()) io.poll();
  if (!ready.empty() || !in.empty()) return true;
  if (timers.empty()) return false;
  const bool away = io::offload_busy() != 0;
  if (away || (ran_since_rest_ && io.anyone_waits())) {
    ran_since_rest_ = false;
    offloads_seen_ = io::offloads_begun();
    doze(base::after(base::kernel_now(), away ? elsewhere : settling));
    if (!ready.empty() || signalled.load(std::memory_order_relaxed)) return true;
  }
  show(std::max(base::shown_time(), timers.next()));
  return true;
}

}  // namespace bide::core
