// Descriptors that come and go. Any thread.
#pragma once

#include "lib/io/fd_table.hpp"

namespace bide::call {

// A number gets a new owner or none: every worker stops watching it and wakes its waiters, before the kernel is asked.
// Parks while other workers do; a plain thread waits.
void leaving(int fd) noexcept;

// A number has a new owner that came through a door.
void made(int fd) noexcept;
// The same for a socket without timeouts, of which everything is known.
void made_socket(int fd, io::fd_kind, bool nonblocking) noexcept;

}  // namespace bide::call
