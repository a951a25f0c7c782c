// Kernel threads of the runtime: workers beyond the first, and offload threads.
#pragma once

#include <pthread.h>

namespace bide::sys {

enum class signals { inherited, blocked };  // blocked: all but the synchronous ones

// Starts a thread named `name` (15 characters). Joined by no one. Returns 0 or -errno.
//
// It is a pthread, because it runs the program's functions, which need a libc thread's TLS; so this is the one place
// that may reach the program's malloc.
int start_thread(const char* name, signals mask, void (*run)(void*), void* argument) noexcept;

// pthread_cancel(3) of a thread that start_thread() has made, and that hasn't ended.
using thread_handle = pthread_t;
thread_handle this_thread() noexcept;
void cancel_thread(thread_handle) noexcept;

}  // namespace bide::sys
