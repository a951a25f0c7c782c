// What a program of threads pays for its kernel calls and its threads: run natively and preloaded, it says as which.
#include "probe.hpp"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using namespace bench;

const char* subject() {
  const char* preloaded = std::getenv("LD_PRELOAD");
  return preloaded && *preloaded ? "preloaded" : "native";
}

// The least of many short times: what it costs when nothing comes between.
template <class F>
void measure(const char* figure, int times, F f) {
  double least = 1e12;
  for (int round = 0; round < 20; ++round) {
    const double before = cpu_ns();
    for (int i = 0; i < times; ++i) f();
    least = std::min(least, (cpu_ns() - before) / times);
  }
  report(subject(), figure, least);
}

// A syscall instruction that is none of libc's.
long bare_call(long nr) {
  long answer;
  asm volatile("syscall" : "=a"(answer) : "a"(nr) : "rcx", "r11", "memory");
  return answer;
}

void* nothing(void* value) { return value; }

void* wait_for_ever(void*) {
  pause();
  return nullptr;
}

// A program that has had but one thread is spared much.
void have_two_threads() {
  pthread_t thread;
  pthread_create(&thread, nullptr, wait_for_ever, nullptr);
}

void calls() {
  have_two_threads();
  measure("call-bare", 2000, [] { bare_call(SYS_getppid); });
  measure("call-libc", 5000, [] { getppid(); });
  measure("call-gettid", 5000, [] { syscall(SYS_gettid); });
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) std::abort();
  char byte = 1;
  measure("call-name", 2000, [&] {
    if (write(ends[0], &byte, 1) != 1 || read(ends[1], &byte, 1) != 1) std::abort();
  });
}

void create_join() {
  have_two_threads();
  measure("create-join", 500, [] {
    pthread_t thread;
    pthread_create(&thread, nullptr, nothing, nullptr);
    pthread_join(thread, nullptr);
  });
}

// Two threads take turns, by a condition variable and by semaphores.
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
int turn = 0;

void take_turns(int mine) {
  pthread_mutex_lock(&lock);
  while (turn != mine) pthread_cond_wait(&changed, &lock);
  turn = !mine;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

void condition() {
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void*) -> void* { for (;;) take_turns(1); }, nullptr);
  measure("hand-off-condition", 1000, [] { take_turns(0); });
}

sem_t ping, pong;

void semaphore() {
  sem_init(&ping, 0, 0);
  sem_init(&pong, 0, 0);
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void*) -> void* { for (;;) sem_wait(&ping), sem_post(&pong); }, nullptr);
  measure("hand-off-semaphore", 1000, [] { sem_post(&ping), sem_wait(&pong); });
}

void yield() {
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void*) -> void* { for (;;) sched_yield(); }, nullptr);
  measure("hand-off-yield", 2000, [] { sched_yield(); });
}

}  // namespace

int main(int count, char** names) {
  const int status = run_named(count, names, {{"calls", calls}, {"create-join", create_join}, {"condition", condition},
                                              {"semaphore", semaphore}, {"yield", yield}});
  std::fflush(stdout);
  _exit(status);  // the other threads go on
}
