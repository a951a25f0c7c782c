// Telling which fibers there are, and what each waits for.
#pragma once

#include <cstddef>

#include "lib/base/text.hpp"
#include "lib/fiber/worker_core.hpp"

namespace bide::diag {

// How the workers of the process are found; the scheduler says so when the first runtime opens.
using worker_list = std::size_t (*)(core::worker_core** out, std::size_t room) noexcept;
void set_worker_list(worker_list) noexcept;  // any thread

// Appends "fiber 7 'name' (file.cpp:12)".
void describe(base::text&, const core::fiber&) noexcept;

// Writes a line for each live fiber to a descriptor: who it is, its state, what it waits for. Meant for workers that
// rest, or a process about to die: it reads without locks.
void list_fibers(int fd) noexcept;

// A worker's thread begins or ends: it gets an alternate signal stack, where a stack overflow is reported
// (overflow.cpp).
void enter_thread() noexcept;
void leave_thread() noexcept;

}  // namespace bide::diag
