#include "lib/sys/thread.hpp"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <initializer_list>

#include "lib/base/arena.hpp"

namespace bide::sys {
namespace {

struct start {
  void (*run)(void*);
  void* argument;
};

void* begin(void* p) {
  const start s = *static_cast<start*>(p);
  base::arena_free(p);
  s.run(s.argument);
  return nullptr;
}

}  // namespace

int start_thread(const char* name, signals mask, void (*run)(void*), void* argument) noexcept {
  auto* s = static_cast<start*>(base::arena_allocate(sizeof(start)));
  if (!s) return -ENOMEM;
  *s = {run, argument};

  sigset_t quiet, before;
  sigfillset(&quiet);
  for (int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&quiet, synchronous);
  pthread_sigmask(SIG_BLOCK, mask == signals::blocked ? &quiet : nullptr, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, begin, s);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error) {
    base::arena_free(s);
    return -error;
  }
  pthread_setname_np(thread, name);
  return 0;
}

thread_handle this_thread() noexcept { return pthread_self(); }
void cancel_thread(thread_handle thread) noexcept { pthread_cancel(thread); }

}  // namespace bide::sys
