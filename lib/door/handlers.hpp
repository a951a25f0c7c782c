// What a signal handler that interrupts the runtime may find; the rest of it is bide_enter_handler() in lib/call/border.hpp.
#pragma once

namespace bide::door {

// While this lives its thread makes a call of the program's as it is: nothing of the runtime's is half done, and a handler that
// interrupts that may go on to other things, by siglongjmp(3) too.
class as_it_is {
 public:
  as_it_is() noexcept;
  ~as_it_is();
  as_it_is(const as_it_is&) = delete;
};

}  // namespace bide::door
