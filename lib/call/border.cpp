#include "lib/call/border.hpp"

#include <errno.h>

#include "asm/gate.h"
#include "lib/call/attempt.hpp"
#include "lib/call/descriptor.hpp"
#include "lib/call/table.hpp"
#include "lib/call/trapped.hpp"
#include "lib/fiber/park.hpp"
#include "lib/io/fd_table.hpp"
#include "lib/io/offload.hpp"
#include "lib/sched/runtime.hpp"
#include "lib/sched/signals.hpp"
#include "lib/sync/futex.hpp"

namespace {

bide::sync::futex_word& word_at(const void* address) noexcept {
  return *static_cast<bide::sync::futex_word*>(const_cast<void*>(address));
}

}  // namespace

extern "C" {

long bide_call(long nr, long a, long b, long c, long d, long e, long f) noexcept {
  bide::core::give_way();
  if (const auto call = bide::call::entry(nr)) [[likely]] return call(a, b, c, d, e, f);
  return bide_gate(nr, a, b, c, d, e, f);
}

long bide_raw(long nr, long a, long b, long c, long d, long e, long f) noexcept {
  return bide_gate(nr, a, b, c, d, e, f);
}

void bide_leaving(int fd) noexcept { bide::call::leaving(fd); }

void bide_sharing() noexcept { bide::io::all_fds_shared(); }

int bide_offload(void (*work)(void*), void* argument, const char* what) noexcept {
  if (!work) return -EINVAL;
  return bide::io::offload(work, argument, what ? what : "an offloaded function");
}

int bide_await_elsewhere(void (*work)(void*), void* argument, const char* what) noexcept {
  return bide::io::offload(work, argument, what, bide::io::offload_limit::beyond);
}

long bide_await_call(long (*work)(void*), void* argument, const char* what, bide_end by) noexcept {
  using namespace bide;
  for (;;) {
    io::offload_call call;
    call.limit = io::offload_limit::beyond;
    call.make = work;
    call.of = argument;
    call.stop = by == bide_by_cancel ? io::offload_stop::cancel : io::offload_stop::signal;
    call.by_handlers = by == bide_by_any;
    const long answer = core::this_worker()->reactor->offload(-1, call, what);
    if (answer != -EINTR || !call.by_handlers || call::signal_seen(false) == call::after_signal::report) return answer;
  }
}

int bide_offload_apart(void (*work)(void*), void (*drop)(void*), void* argument, const char* what,
                       bide_thread where) noexcept {
  using bide::io::offload_limit;
  return bide::io::offload_apart(work, drop, argument, what,
                                 where == bide_beyond ? offload_limit::beyond : offload_limit::counts);
}

bool bide_traps() noexcept { return bide::call::traps(); }

unsigned bide_runtimes() noexcept { return bide::core::runtimes(); }

long bide_wait_at(const void* address, int (*let_go)(void*), void* argument, clockid_t clock, const timespec* limit,
                  const char* what) noexcept {
  using namespace bide;
  std::int64_t until = base::never;
  if (limit) {
    if (const long error = call::read_time(limit, until)) return error;
    if (clock == CLOCK_REALTIME) until = call::from_realtime(until);
  }
  core::fiber& me = *core::this_fiber();
  const auto point = me.unwinds ? core::cancel_point::yes : core::cancel_point::if_new;
  const long end = sync::futex_wait_any(word_at(address), let_go, argument, until, point, {what});
  if (end != -ECANCELED || me.unwinds) return end;
  if (me.home->stuck > 1) return -EDEADLK;
  core::keep_cancel(me);
  return end;
}

long bide_wake_at(const void* address, long count) noexcept { return bide::sync::futex_wake(word_at(address), count); }

void bide_ended(long answer) {
  const bide::core::fiber* me = bide::core::this_fiber();
  if (!me || !me->unwinds) return;
  if (answer == -ECANCELED) throw bide::cancelled{};
  // A connection may time out by itself.
  for (const bide::detail::scope* s = me->scope; s && s->how != bide::wait_result::ready; s = s->outer) {
    if (s->until <= bide::base::now()) throw bide::timed_out{};
  }
}

void bide_ended_short(long answer) noexcept {
  bide::core::fiber* me = bide::core::this_fiber();
  if (me && me->unwinds && answer == -ECANCELED) bide::core::keep_cancel(*me);
}

void bide_lost() { throw bide::cancelled{}; }

void bide_note_signal(bool restarts) noexcept { bide::core::note_signal(restarts); }

}  // extern "C"
