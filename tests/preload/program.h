// What these programs share: cases by name, and a line of output that no other thread's line is mixed with. A program run
// with no argument lists its cases, with a name it runs that one.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct program_case {
  const char *name;
  void (*run)(void);
};
static struct program_case program_cases[100];
static int program_count;

#define CASE(title)                                                                    \
  static void title(void);                                                             \
  __attribute__((constructor)) static void list_##title(void) {                        \
    program_cases[program_count].name = #title;                                        \
    program_cases[program_count++].run = title;                                        \
  }                                                                                    \
  static void title(void)

__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...) {
  char line[512];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  line[length++] = '\n';
  if (write(1, line, (size_t)length) != length) _exit(99);
}

// A number that a failed call gives, by name.
__attribute__((unused)) static const char *error_name(int error) { return error ? strerrorname_np(error) : "0"; }
__attribute__((unused)) static const char *outcome(long answer) { return answer == -1 ? error_name(errno) : "well"; }

__attribute__((unused)) static void nap(long milliseconds) {
  struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {}
}

__attribute__((unused)) static struct timespec after(clockid_t clock, long milliseconds) {
  struct timespec t;
  clock_gettime(clock, &t);
  t.tv_nsec += milliseconds % 1000 * 1000000;
  t.tv_sec += milliseconds / 1000 + t.tv_nsec / 1000000000;
  t.tv_nsec %= 1000000000;
  return t;
}

__attribute__((unused)) static pthread_t start(void *(*run)(void *), void *argument) {
  pthread_t thread;
  int error = pthread_create(&thread, NULL, run, argument);
  if (error) say("pthread_create: %s", error_name(error));
  return thread;
}

__attribute__((unused)) static void *join(pthread_t thread) {
  void *value = NULL;
  int error = pthread_join(thread, &value);
  if (error) say("pthread_join: %s", error_name(error));
  return value;
}

__attribute__((unused)) static void handle(int number, void (*handler)(int), int flags) {
  struct sigaction a;
  memset(&a, 0, sizeof a);
  a.sa_handler = handler;
  a.sa_flags = flags;
  sigaction(number, &a, NULL);
}
__attribute__((unused)) static void handle_info(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
  struct sigaction a;
  memset(&a, 0, sizeof a);
  a.sa_sigaction = handler;
  a.sa_flags = flags | SA_SIGINFO;
  sigaction(number, &a, NULL);
}

__attribute__((unused)) static void say_end(const char *what, int status) {
  if (WIFEXITED(status)) say("%s: exited with %d", what, WEXITSTATUS(status));
  else say("%s: ended by signal %d", what, WTERMSIG(status));
}

int main(int count, char **arguments) {
  for (int i = 0; i < program_count; ++i) {
    if (count < 2) {
      puts(program_cases[i].name);
    } else if (!strcmp(arguments[1], program_cases[i].name)) {
      program_cases[i].run();
      return 0;
    }
  }
  return count < 2 ? 0 : 98;
}
