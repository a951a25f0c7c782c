// Timers that send their signal to a thread of ours.
#include <errno.h>
#include <signal.h>

#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
#include "lib/sched/delivery.hpp"
#include "lib/sched/thread_timers.hpp"

namespace bide::call {

long timer_create_call(long clock, long event, long id, long, long, long) {
  sigevent wanted;
  if (!event) return bide_gate(SYS_timer_create, clock, event, id, 0, 0, 0);
  if (const long error = copy_in(&wanted, reinterpret_cast<void*>(event), sizeof wanted)) return error;
  const auto tid = static_cast<std::uint32_t>(wanted._sigev_un._tid);
  if (wanted.sigev_notify != SIGEV_THREAD_ID || wanted.sigev_signo < 1 || wanted.sigev_signo > core::signals ||
      !core::with_thread(tid, [](core::thread&, void*) {}, nullptr))
    return bide_gate(SYS_timer_create, clock, event, id, 0, 0, 0);
  const long number = core::add_thread_timer(tid, wanted);
  if (number < 0) return number;
  sigevent sent{};
  sent.sigev_notify = SIGEV_SIGNAL;
  sent.sigev_signo = core::tick_signal;
  sent.sigev_value.sival_int = static_cast<int>(number);
  int given = -1;
  long answer = bide_gate(SYS_timer_create, clock, sys::word(&sent), sys::word(&given), 0, 0, 0);
  if (!answer && (answer = copy_out(reinterpret_cast<void*>(id), &given, sizeof given)) != 0) {
    bide_gate(SYS_timer_delete, given, 0, 0, 0, 0, 0);
    given = -1;
  }
  core::name_thread_timer(number, given);
  return answer;
}

long timer_delete_call(long id, long, long, long, long, long) {
  const long answer = bide_gate(SYS_timer_delete, id, 0, 0, 0, 0, 0);
  if (!answer) core::drop_thread_timer(static_cast<int>(id));
  return answer;
}

}  // namespace bide::call
