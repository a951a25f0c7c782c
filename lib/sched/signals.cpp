#include "lib/sched/signals.hpp"

#include <atomic>

#include "lib/fiber/park.hpp"
#include "lib/sched/runtime.hpp"

namespace bide::core {
namespace {

std::atomic<worker_core*> signal_worker{nullptr};
std::atomic<bool> not_restarting{false};  // one of the handlers that ran since the last delivery had no SA_RESTART

}  // namespace

void claim_signals(worker_core& w) noexcept {
  worker_core* none = nullptr;
  signal_worker.compare_exchange_strong(none, &w, std::memory_order_acq_rel);
}

void leave_signals(worker_core& w) noexcept {
  worker_core* mine = &w;
  signal_worker.compare_exchange_strong(mine, nullptr, std::memory_order_acq_rel);
}

void note_signal(bool restarts) noexcept {
  if (worker_core* here = this_worker()) here->handlers.fetch_add(1, std::memory_order_relaxed);
  worker_core* w = signal_worker.load(std::memory_order_acquire);
  if (!w || (w == this_worker() && w->current == w->runtime->main)) return;
  if (!restarts) not_restarting.store(true, std::memory_order_relaxed);
  w->signalled.store(true, std::memory_order_seq_cst);  // pairs with rest(): seen before it sleeps, or rung after
  ring(*w);
}

void deliver_signals(worker_core& w) noexcept {
  w.signalled.store(false, std::memory_order_seq_cst);
  const bool restarts = !not_restarting.exchange(false, std::memory_order_relaxed);
  fiber* first = w.runtime->main;
  // Running or ready, it is between calls: a thread would have seen nothing either.
  if (!first || first->state != fiber_state::parked || !first->reason.in_call) return;
  if (!wake(*first->wait, wait_result::ready)) return;
  first->interrupted = true;
  first->interrupt_restarts = restarts;
}

}  // namespace bide::core
