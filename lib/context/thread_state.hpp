// What belongs to a kernel thread but must follow the fiber: errno and the C++ exception state.
//
// The addresses are looked up once for each worker, because a look-up at each switch costs more than the switch.
// Boost.Context before 1.88 saves neither; from 1.88 its fiber class saves the exception state, but not jump_fcontext,
// which is what we use. So it is saved here, once, with every version.
#pragma once

#include <cxxabi.h>
#include <errno.h>

namespace bide::context {

// The Itanium C++ ABI, 2.2.2: a pointer to the stack of caught exceptions and the count of uncaught ones.
struct exception_state {
  void* caught = nullptr;
  unsigned uncaught = 0;
  unsigned padding = 0;  // copied along: one move of 16 bytes
};

struct thread_state {
  int error = 0;
  exception_state exceptions;
};

class thread_state_place {
 public:
  // To be called on the thread whose state it is.
  void find() noexcept {
    error_ = &errno;
    exceptions_ = reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
  }
  void save(thread_state& to) const noexcept {
    to.error = *error_;
    to.exceptions = *exceptions_;
  }
  void load(const thread_state& from) const noexcept {
    *error_ = from.error;
    *exceptions_ = from.exceptions;
  }

 private:
  int* error_ = nullptr;
  exception_state* exceptions_ = nullptr;
};

}  // namespace bide::context
