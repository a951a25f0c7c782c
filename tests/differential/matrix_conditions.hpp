// The matrix's conditions under which bytes are read and written, or waited for, on a descriptor.
#pragma once

#include "matrix_kinds.hpp"

namespace differential {

// What a condition is made of: before the call, and by another actor once the call waits.
struct condition {
  std::string name;
  unsigned needs = 0, lacks = 0;  // traits
  bool takes_flags = false;
  int flags = 0;
  void (*before)(const descriptor&, channel&) = nullptr;
  void (*meanwhile)(const descriptor&, channel&) = nullptr;
  std::size_t size = 8;
  char* room = nullptr;   // in place of a good one
  int fd = -2;            // in place of the descriptor
  milliseconds time{0};
  int signal_flags = -1;  // a signal comes, with a handler of these flags
  bool cancels = false;   // who makes the call is cancelled in it, and then it could be done
};

std::vector<condition> reading();
std::vector<condition> writing();

// `go` is made under the condition on the end that reads, or writes; what it does and leaves is noted.
void tell(actor& me, const descriptor&, const condition&, bool writes, const std::function<long(int fd)>& go);

}  // namespace differential
