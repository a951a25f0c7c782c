// How a cell is played: a call, what another does once it waits, and what is noted of it.
#pragma once

#include "actor.hpp"
#include "things.hpp"

namespace differential {

// What ends a call's wait. Nothing of it: the call doesn't wait, or ends by itself.
struct end_of_wait {
  std::function<void()> help{};               // by another actor once the call waits
  const counting_handler* handler = nullptr;  // SIGUSR1 comes first, to it
  bool restarts = false;                      // ... after which the call may go on, and is helped
  milliseconds time{0};                       // the call ends by itself then
};

// Makes the call; notes its answer, whether it waited for another, and in classes how long after it could be done, or after
// its time, it came back.
outcome play(actor& me, const std::function<long()>& go, const end_of_wait&);

// Makes the call in an actor that is cancelled in it; then it could be done.
void cancel_and_look(actor& me, const std::function<long()>& go, const std::function<void()>& free);

}  // namespace differential
