// Signals as fibers: the handler counts into an eventfd, the fiber reads it. A signal's eventfd stays for the process's
// life, because a handler may be about to write to it on any thread.
#include <bide/signal.hpp>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <bide/shield.hpp>
#include <bide/task.hpp>

#include <atomic>
#include <mutex>
#include <stop_token>
#include <string>

#include "lib/fiber/park.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/io/reactor.hpp"
#include "lib/sys/raw.hpp"
#include "lib/task/error.hpp"

namespace bide::detail {
namespace {

using task_layer::fail;

constexpr int signals = 65;

std::mutex lock;               // never held across a wait
std::atomic<int> counters[signals];  // the eventfd and one; 0: none
bool taken[signals];           // guarded by lock
struct sigaction before[signals];    // guarded by lock

void on_signal(int signal) {
  const std::uint64_t one = 1;
  if (const int counter = counters[signal].load(std::memory_order_relaxed)) sys::raw(SYS_write, counter - 1, &one, sizeof one);
}

// A child of a fork would count into its parent's.
void forget_counters() {
  for (auto& c : counters) {
    if (const int counter = c.exchange(0)) io::close_own_fd(counter - 1);
  }
  for (bool& t : taken) t = false;
}

int counter_of(int signal) {
  static const int registered = pthread_atfork(nullptr, nullptr, forget_counters);
  (void)registered;
  if (!counters[signal]) {
    const long made = sys::raw(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    const int own = made < 0 ? static_cast<int>(made) : io::adopt_own_fd(static_cast<int>(made));
    if (own < 0) fail(-own, "signal_handler: no descriptor is left");
    counters[signal] = own + 1;
  }
  return counters[signal] - 1;
}

// A cancel may end a wait of the function's instead of ours: `over` is told of it all the same.
void serve(std::stop_token over, int counter, void (*call)(void*), void* what) {
  io::reactor& reactor = *core::this_worker()->reactor;
  for (std::uint64_t arrived = 0; !over.stop_requested();) {
    const long n = sys::raw(SYS_read, counter, &arrived, sizeof arrived);
    if (n == -EAGAIN && reactor.wait(counter, io::readiness::readable, "a signal", base::never) == 0) continue;
    if (n < 0) break;
    for (; arrived && !over.stop_requested(); --arrived) {
      try {
        call(what);
      } catch (const cancelled&) {
      } catch (...) {
        report_callback(std::current_exception(), "a signal handler");
      }
    }
  }
  reactor.forget(counter);
}

}  // namespace

fiber* watch_signal(int signal, void (*call)(void*), void* what) {
  if (!core::this_fiber()) fail(EPERM, "signal_handler outside a fiber: make it inside bide::run()");
  if (signal < 1 || signal >= signals) fail(EINVAL, "signal_handler: there is no signal " + std::to_string(signal));
  int counter;
  {
    const std::lock_guard guard(lock);
    if (taken[signal]) fail(EBUSY, "signal_handler: signal " + std::to_string(signal) + " has one already");
    counter = counter_of(signal);
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    if (::sigaction(signal, &action, &before[signal]) != 0)
      fail(errno, "signal_handler: signal " + std::to_string(signal) + " can't be handled");
    taken[signal] = true;
  }
  try {
    task<void> t = spawn({.name = "signal " + std::to_string(signal)}, serve, counter, call, what);
    return task_access::let_go(t);
  } catch (...) {
    unwatch_signal(signal, nullptr);
    throw;
  }
}

void unwatch_signal(int signal, fiber* who) noexcept {
  {
    const std::lock_guard guard(lock);
    ::sigaction(signal, &before[signal], nullptr);
    taken[signal] = false;
  }
  if (!who) return;
  cancel_fiber(who);
  {
    const shield_scope kept_off;
    (void)core::join(*who, base::never);
  }
  release_fiber(who);
}

}  // namespace bide::detail
