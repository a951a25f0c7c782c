/* The C API as a C99 program sees it. Each function returns 0, or the line of the first check that failed. */
#include "capi.h"

#include <bide/bide.h>
#include <bide/calls.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(condition) \
  do {                   \
    if (!(condition)) return __LINE__; \
  } while (0)
#define MS 1000000

static void *twice(void *p) { return (void *)((intptr_t)p * 2); }
static void *sleeps(void *p) {
  (void)p;
  return (void *)(intptr_t)bide_sleep_ns((int64_t)3600 * 1000 * MS);
}
static void count_state(void *p, int state) { *(int *)p += state; }
static void add_one(void *p) { ++*(int *)p; }

static int tasks(void *p) {
  bide_task *t, *other;
  bide_task *both[2];
  bide_spawn_options how;
  void *result = NULL;
  int seen = 0, work = 0;
  char name[8];
  (void)p;
  CHECK(bide_spawn(&t, NULL, twice, (void *)21) == 0);
  CHECK(bide_task_id(t) != 0);
  CHECK(bide_task_join(t, BIDE_NEVER, &result) == 0);
  CHECK((intptr_t)result == 42);
  CHECK(bide_task_state(t) == BIDE_DONE);
  CHECK(bide_task_on_done(t, count_state, &seen) == 0);
  CHECK(seen == BIDE_DONE);
  memset(&how, 0, sizeof how);
  how.name = "a long name";
  CHECK(bide_spawn(&other, &how, sleeps, NULL) == 0);
  CHECK(bide_task_join(other, bide_deadline_ns(2 * MS), NULL) == -ETIMEDOUT);
  while (bide_task_state(other) != BIDE_PARKED) bide_yield(); /* another worker may not have begun it */
  both[0] = other;
  both[1] = t;
  CHECK(bide_first_of(both, 2) == 1);
  CHECK(bide_task_cancel(other) == 0);
  CHECK(bide_task_join(other, BIDE_NEVER, &result) == 0);
  CHECK((intptr_t)result == -ECANCELED);
  bide_task_free(other);
  bide_task_free(t);
  how.stack_size = 1;
  CHECK(bide_spawn(&t, &how, twice, NULL) == -EINVAL);
  CHECK(t == NULL);
  CHECK(bide_spawn(NULL, NULL, twice, NULL) == 0);
  CHECK(bide_fiber_name(name, sizeof name) == 4);
  CHECK(strcmp(name, "main") == 0);
  CHECK(bide_offload(add_one, &work, "a sum") == 0);
  CHECK(work == 1);
  bide_yield();
  return 0;
}

static int timeouts(void *p) {
  bide_timeout *limit;
  bide_semaphore *s;
  int ends[2], work = 0;
  char byte;
  (void)p;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  CHECK(bide_semaphore_new(&s, 0) == 0);
  CHECK(bide_timeout_begin(&limit, 2 * MS) == 0);
  CHECK(read(ends[0], &byte, 1) == -1 && errno == ETIMEDOUT);
  CHECK(bide_sleep_ns(MS) == -ETIMEDOUT);
  CHECK(bide_semaphore_acquire(s, BIDE_NEVER) == -ETIMEDOUT);
  CHECK(bide_timeout_expired(limit) == 1);
  CHECK(bide_shield(add_one, &work) == 0);
  bide_timeout_end(limit);
  CHECK(bide_sleep_ns(MS) == 0);
  bide_semaphore_free(s);
  close(ends[0]);
  close(ends[1]);
  return 0;
}

static int fails(void *p) { return (int)(intptr_t)p; }
static int waits(void *p) {
  (void)p;
  return bide_sleep_ns((int64_t)3600 * 1000 * MS) == -ECANCELED ? 0 : -EIO;
}

static int groups(void *p) {
  bide_group *g;
  (void)p;
  CHECK(bide_group_new(&g, 0) == 0);
  CHECK(bide_group_spawn(g, waits, NULL) == 0);
  CHECK(bide_group_spawn(g, fails, (void *)(intptr_t)-ENOTTY) == 0);
  CHECK(bide_group_wait(g) == -ENOTTY);
  CHECK(bide_group_spawn(g, fails, NULL) == 0);
  CHECK(bide_group_wait(g) == 0);
  CHECK(bide_group_spawn(g, waits, NULL) == 0);
  CHECK(bide_group_cancel(g) == 0);
  CHECK(bide_group_spawn(g, waits, NULL) == -ECANCELED);
  bide_group_free(g);
  return 0;
}

static void *sends(void *p) {
  bide_channel *c = p;
  intptr_t i;
  for (i = 1; i <= 5; ++i)
    if (bide_channel_send(c, (void *)i, BIDE_NEVER)) return NULL;
  bide_channel_close(c);
  return NULL;
}

static int channels(void *p) {
  bide_channel *c;
  bide_select_case cases[2];
  void *value;
  size_t place = 9;
  intptr_t sum = 0;
  int got;
  (void)p;
  CHECK(bide_channel_new(&c, 0) == 0);
  CHECK(bide_channel_send(c, c, 0) == -ETIMEDOUT);
  CHECK(bide_channel_receive(c, &value, bide_deadline_ns(MS)) == -ETIMEDOUT);
  CHECK(bide_spawn(NULL, NULL, sends, c) == 0);
  CHECK(bide_channel_receive(c, &value, BIDE_NEVER) == 0 && (intptr_t)value == 1);
  memset(cases, 0, sizeof cases);
  cases[0].kind = BIDE_RECEIVE;
  cases[0].channel = c;
  cases[1].kind = BIDE_READABLE;
  cases[1].fd = 0;
  while ((got = bide_select(cases, 1, BIDE_NEVER, &place)) == 0) sum += (intptr_t)cases[0].value;
  CHECK(got == -EPIPE && place == 0);
  CHECK(sum == 2 + 3 + 4 + 5);
  CHECK(bide_channel_close(c) == -EBADF);
  CHECK(bide_channel_send(c, c, BIDE_NEVER) == -EPIPE);
  bide_channel_free(c);
  CHECK(bide_channel_new(&c, BIDE_UNBOUNDED) == 0);
  cases[0].channel = c;
  CHECK(bide_select(cases, 1, bide_deadline_ns(MS), NULL) == -ETIMEDOUT);
  cases[0].kind = BIDE_SEND;
  CHECK(bide_select(cases, 1, BIDE_NEVER, NULL) == 0);
  cases[0].channel = NULL;
  CHECK(bide_select(cases, 1, BIDE_NEVER, NULL) == -EINVAL);
  CHECK(bide_select(cases, 0, BIDE_NEVER, NULL) == -EINVAL);
  bide_channel_free(c);
  return 0;
}

struct shared {
  bide_mutex *m;
  bide_cond *c;
  bide_event *e;
  int ready;
};

static void *makes_ready(void *p) {
  struct shared *s = p;
  bide_mutex_lock(s->m, BIDE_NEVER);
  s->ready = 1;
  bide_cond_signal(s->c);
  bide_mutex_unlock(s->m);
  bide_event_set(s->e);
  return NULL;
}

static int locks(void *p) {
  struct shared s = {NULL, NULL, NULL, 0};
  (void)p;
  CHECK(bide_mutex_new(&s.m) == 0 && bide_cond_new(&s.c) == 0 && bide_event_new(&s.e) == 0);
  CHECK(bide_mutex_lock(s.m, BIDE_NEVER) == 0);
  CHECK(bide_mutex_lock(s.m, bide_deadline_ns(MS)) == -ETIMEDOUT);
  CHECK(bide_cond_wait(s.c, s.m, bide_deadline_ns(MS)) == -ETIMEDOUT);
  CHECK(bide_event_wait(s.e, bide_deadline_ns(MS)) == -ETIMEDOUT);
  CHECK(bide_spawn(NULL, NULL, makes_ready, &s) == 0);
  while (!s.ready) CHECK(bide_cond_wait(s.c, s.m, BIDE_NEVER) == 0);
  CHECK(bide_mutex_unlock(s.m) == 0);
  CHECK(bide_event_wait(s.e, BIDE_NEVER) == 0);
  bide_event_free(s.e);
  bide_cond_free(s.c);
  bide_mutex_free(s.m);
  return 0;
}

struct seen {
  int calls, released;
  unsigned long fiber;
};
static long count_call(struct bide_passing_call *call, void *data) {
  struct seen *s = data;
  ++s->calls;
  s->fiber = call->fiber;
  if (call->arguments[2] > 2) call->arguments[2] = 2;
  return bide_call_go_on(call);
}
static long refuse(struct bide_passing_call *call, void *data) {
  (void)call;
  ++((struct seen *)data)->calls;
  return -EPERM;
}
static void release(void *data) { ++((struct seen *)data)->released; }

static int wraps(void *p) {
  struct seen counted = {0, 0, 0}, refused = {0, 0, 0};
  struct bide_wrapper *outer, *inner;
  int fds[2];
  char text[8];
  (void)p;
  CHECK(pipe(fds) == 0 && write(fds[1], "hello", 5) == 5);
  inner = bide_wrapper_add(SYS_read, count_call, &counted, release, 0);
  CHECK(inner);
  CHECK(read(fds[0], text, 5) == 2 && counted.calls == 1 && counted.fiber == bide_fiber_id());
  outer = bide_wrapper_add(SYS_read, refuse, &refused, NULL, (unsigned long)bide_fiber_id());
  CHECK(outer);
  CHECK(read(fds[0], text, 5) == -1 && errno == EPERM && counted.calls == 1 && refused.calls == 1);
  bide_wrapper_remove(outer);
  CHECK(read(fds[0], text, 5) == 2 && counted.calls == 2);
  bide_wrapper_remove(inner);
  CHECK(counted.released == 1);
  CHECK(read(fds[0], text, 5) == 1 && counted.calls == 2);
  CHECK(!bide_wrapper_add(SYS_fork, count_call, &counted, release, 0) && errno == EINVAL);
  CHECK(!bide_wrapper_add(SYS_read, NULL, NULL, NULL, 0) && errno == EINVAL);
  CHECK(counted.released == 1);
  bide_wrapper_remove(NULL);
  CHECK(strcmp(bide_call_name(SYS_read), "read") == 0 && !bide_call_name(-1));
  CHECK(bide_call_waits(SYS_read) && bide_call_waits(SYS_ftruncate) && !bide_call_waits(SYS_getpid) && !bide_call_waits(-1));
  CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);
  return 0;
}

static int in_fibers(int (*f)(void *)) {
  unsigned workers;
  for (workers = 1; workers <= 4; workers *= 2) {
    bide_options how;
    int line = -1;
    memset(&how, 0, sizeof how);
    how.workers = workers;
    CHECK(bide_run(&how, f, NULL, &line) == 0);
    if (line) return line;
  }
  return 0;
}

int capi_tasks(void) { return in_fibers(tasks); }
int capi_timeouts(void) { return in_fibers(timeouts); }
int capi_groups(void) { return in_fibers(groups); }
int capi_channels(void) { return in_fibers(channels); }
int capi_locks(void) { return in_fibers(locks); }
int capi_wraps(void) { return in_fibers(wraps); }

int capi_runtimes(void) {
  bide_runtime *rt;
  bide_task *t;
  void *result = NULL;
  int64_t again = 0;
  CHECK(bide_runtime_start(&rt, NULL) == 0);
  CHECK(bide_runtime_spawn(rt, &t, NULL, twice, (void *)4) == 0);
  CHECK(bide_task_join(t, BIDE_NEVER, &result) == 0 && (intptr_t)result == 8);
  CHECK(bide_runtime_poll(rt, NULL) == -EINVAL);
  bide_task_free(t);
  CHECK(bide_runtime_spawn(rt, &t, NULL, sleeps, NULL) == 0);
  bide_runtime_free(rt);
  CHECK(bide_task_join(t, BIDE_NEVER, &result) == 0 && (intptr_t)result == -ECANCELED);
  bide_task_free(t);
  CHECK(bide_runtime_stepped(&rt, NULL) == 0);
  CHECK(bide_runtime_fd(rt) >= 0);
  CHECK(bide_runtime_spawn(rt, &t, NULL, twice, (void *)5) == 0);
  while (bide_task_state(t) != BIDE_DONE) CHECK(bide_runtime_poll(rt, &again) == 0);
  CHECK(again == BIDE_NEVER);
  bide_task_free(t);
  bide_runtime_free(rt);
  return 0;
}

int capi_bad_input(void) {
  bide_options how;
  bide_channel *c;
  bide_task *none = NULL;
  bide_semaphore *s;
  bide_group *g;
  bide_select_case a_case;
  void *value;
  memset(&a_case, 0, sizeof a_case);
  memset(&how, 0, sizeof how);
  how.workers = 1000;
  CHECK(bide_run(&how, fails, NULL, NULL) == -EINVAL);
  CHECK(bide_run(NULL, NULL, NULL, NULL) == -EINVAL);
  CHECK(bide_spawn(NULL, NULL, twice, NULL) == -EPERM);
  CHECK(bide_spawn(NULL, NULL, NULL, NULL) == -EINVAL);
  CHECK(bide_runtime_start(NULL, NULL) == -EINVAL && bide_runtime_stepped(NULL, NULL) == -EINVAL);
  CHECK(bide_runtime_spawn(NULL, NULL, NULL, twice, NULL) == -EINVAL);
  CHECK(bide_runtime_fd(NULL) == -EINVAL && bide_runtime_poll(NULL, NULL) == -EINVAL);
  CHECK(bide_task_join(NULL, 0, NULL) == -EINVAL && bide_task_cancel(NULL) == -EINVAL);
  CHECK(bide_task_state(NULL) == -EINVAL && bide_task_id(NULL) == 0);
  CHECK(bide_task_on_done(NULL, count_state, NULL) == -EINVAL);
  CHECK(bide_first_of(NULL, 1) == -EINVAL && bide_first_of(&none, 1) == -EINVAL && bide_first_of(&none, 0) == -EINVAL);
  CHECK(bide_offload(NULL, NULL, NULL) == -EINVAL && bide_fiber_name(NULL, 5) == -EINVAL);
  CHECK(bide_timeout_begin(NULL, MS) == -EINVAL);
  CHECK(bide_timeout_expired(NULL) == -EINVAL && bide_shield(NULL, NULL) == -EINVAL);
  CHECK(bide_group_new(NULL, 0) == -EINVAL && bide_group_spawn(NULL, fails, NULL) == -EINVAL);
  CHECK(bide_group_wait(NULL) == -EINVAL && bide_group_cancel(NULL) == -EINVAL);
  CHECK(bide_channel_new(NULL, 1) == -EINVAL);
  CHECK(bide_channel_send(NULL, NULL, 0) == -EINVAL && bide_channel_close(NULL) == -EINVAL);
  CHECK(bide_select(NULL, 1, 0, NULL) == -EINVAL && bide_select(&a_case, 0, 0, NULL) == -EINVAL);
  CHECK(bide_select(&a_case, 1, 0, NULL) == -EINVAL);
  a_case.kind = BIDE_TASK;
  CHECK(bide_select(&a_case, 1, 0, NULL) == -EINVAL);
  a_case.kind = 99;
  CHECK(bide_select(&a_case, 1, 0, NULL) == -EINVAL);
  a_case.kind = BIDE_READABLE;
  CHECK(bide_select(&a_case, 1, 0, NULL) == -EPERM); /* outside a runtime */
  a_case.fd = -1;
  CHECK(bide_select(&a_case, 1, 0, NULL) == -EINVAL);
  CHECK(bide_channel_receive(NULL, &value, 0) == -EINVAL);
  CHECK(bide_mutex_new(NULL) == -EINVAL && bide_mutex_lock(NULL, 0) == -EINVAL && bide_mutex_unlock(NULL) == -EINVAL);
  CHECK(bide_cond_new(NULL) == -EINVAL && bide_cond_wait(NULL, NULL, 0) == -EINVAL);
  CHECK(bide_cond_signal(NULL) == -EINVAL && bide_cond_broadcast(NULL) == -EINVAL);
  CHECK(bide_semaphore_new(NULL, 0) == -EINVAL && bide_semaphore_new(&s, -1) == -EINVAL);
  CHECK(bide_semaphore_acquire(NULL, 0) == -EINVAL && bide_semaphore_release(NULL, 1) == -EINVAL);
  CHECK(bide_semaphore_new(&s, 0) == 0 && bide_semaphore_release(s, -1) == -EINVAL);
  bide_semaphore_free(s);
  CHECK(bide_event_new(NULL) == -EINVAL && bide_event_wait(NULL, 0) == -EINVAL);
  CHECK(bide_event_set(NULL) == -EINVAL && bide_event_clear(NULL) == -EINVAL);
  CHECK(bide_group_new(&g, 0) == 0);
  CHECK(bide_group_spawn(g, fails, NULL) == -EPERM); /* outside a runtime */
  CHECK(bide_group_wait(g) == 0);
  bide_group_free(g);
  CHECK(bide_channel_new(&c, 1) == 0);
  CHECK(bide_channel_receive(c, NULL, 0) == -EINVAL);
  CHECK(bide_channel_send(c, c, BIDE_NEVER) == 0); /* on a plain thread */
  CHECK(bide_channel_receive(c, &value, BIDE_NEVER) == 0 && value == c);
  bide_channel_free(c);
  bide_task_free(NULL);
  bide_runtime_free(NULL);
  bide_group_free(NULL);
  bide_timeout_end(NULL);
  bide_channel_free(NULL);
  bide_mutex_free(NULL);
  bide_cond_free(NULL);
  bide_semaphore_free(NULL);
  bide_event_free(NULL);
  CHECK(bide_fiber_id() == 0 && bide_fiber_name(NULL, 0) == 0);
  CHECK(bide_sleep_ns(1000) == 0 && bide_sleep_ns(-5) == 0);
  return 0;
}

int capi_timeout_outside(void) {
  bide_timeout *t;
  CHECK(bide_timeout_begin(&t, MS) == -EPERM);
  CHECK(t == NULL);
  return 0;
}
