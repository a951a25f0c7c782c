// Where threads race, and what keeps the races harmless: a test build (BIDE_RACES) delays at random at the first, and does
// without one of the second, which its tests must notice: tests/preload/races_test.py. Anywhere else both are nothing.
#pragma once

namespace bide::base {

enum class protection {
  claim,           // back from the kernel a kernel thread asks whether its worker is still its own
  second_look,     // a worker looks into its inbox once more when others know that it sleeps
  check_enlisted,  // a futex's word is compared when a waker would find the waiter
  end_last,        // a thread is joined when its stack has been left
  inside,          // nothing is preempted in the runtime
  locks,           // one at a time between spin_lock and spin_unlock
};

#ifdef BIDE_RACES
void race_point() noexcept;
bool kept(protection) noexcept;
#else
inline void race_point() noexcept {}
constexpr bool kept(protection) noexcept { return true; }
#endif

}  // namespace bide::base
